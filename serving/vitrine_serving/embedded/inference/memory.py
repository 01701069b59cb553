"""Gives back the memory of what is no longer served."""

from __future__ import annotations

import ctypes

import tensorflow as tf
from tensorflow.python.framework import ops


def dismantle(graph: tf.Graph) -> None:
    """Free a graph that nobody uses any more; it is full of reference cycles, which wait long for a collector."""
    ops.dismantle_graph(graph)


def trim() -> None:
    """Return freed memory to the system, where the C library is one that keeps it (glibc)."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError):
        return
