"""Gives back the memory of what is no longer needed: models that were served, large requests."""

from __future__ import annotations

import ctypes
import threading
import time

import tensorflow as tf
from tensorflow.python.framework import ops

_LARGE_BYTES = 2**20
_TRIM_SECONDS = 1.0
_asked = threading.Event()
# Taken for good by who starts the thread.
_unstarted = threading.Lock()


def dismantle(graph: tf.Graph) -> None:
    """Free a graph that nobody uses any more; it is full of reference cycles, which wait long for a collector."""
    ops.dismantle_graph(graph)


def trim() -> None:
    """Return freed memory to the system, where the C library is one that keeps it (glibc)."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError):
        return


def trim_after(message_bytes: int) -> None:
    """After a request or an answer that was large, have `trim` called in a second, once for all until then.

    The C library keeps freed memory for each thread that had some: a few large requests on every thread
    would look like a leak of gigabytes.
    """
    if message_bytes < _LARGE_BYTES:
        return
    if _unstarted.acquire(blocking=False):
        threading.Thread(target=_trim_when_asked, name="trim-memory", daemon=True).start()
    _asked.set()


def _trim_when_asked() -> None:
    while _asked.wait():
        time.sleep(_TRIM_SECONDS)
        _asked.clear()
        trim()
