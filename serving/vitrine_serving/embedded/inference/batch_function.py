"""The attributes of BatchFunction, the operation that batches in a graph; needs no TensorFlow.

What has its default value is not in a SavedModel, and to look up what is not there would put an empty attribute in.
"""

from __future__ import annotations

from typing import Any

BATCH_FUNCTION = "BatchFunction"
ALLOWED_SIZES = "allowed_batch_sizes"
ENQUEUED = "max_enqueued_batches"
_SPLITTING = "enable_large_batch_splitting"
_DEFAULT_ENQUEUED = 10  # batch_ops.cc


def splits(node: Any) -> bool:
    """Whether `node`, a NodeDef, runs a larger request in several batches."""
    return _SPLITTING in node.attr and bool(node.attr[_SPLITTING].b)


def allowed_sizes(node: Any) -> tuple[int, ...]:
    """The numbers of rows that may run together, increasing; empty: any."""
    return tuple(node.attr[ALLOWED_SIZES].list.i) if ALLOWED_SIZES in node.attr else ()


def enqueued(node: Any) -> int:
    """The most batches that may wait."""
    return int(node.attr[ENQUEUED].i) if ENQUEUED in node.attr else _DEFAULT_ENQUEUED
