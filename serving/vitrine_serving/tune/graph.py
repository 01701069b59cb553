"""The batch in a SavedModel's graph: its attributes read, and others put in their place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf.message import DecodeError

from vitrine_serving.errors import CommandError
from vitrine_serving.tune.candidates import Batching
from vitrine_serving.tune.saved_model import SavedModel

_BATCH = "BatchFunction"
_SPLITTING = "enable_large_batch_splitting"
_ALLOWED = "allowed_batch_sizes"
_ENQUEUED = "max_enqueued_batches"
_DEFAULT_ENQUEUED = 10  # batch_ops.cc
_PADDING = "batch_padding_policy"


def graph_batching(content: bytes) -> Batching | None:
    """The batch of a `saved_model.pb`, of the first where there are several; None where there is none.

    Raises CommandError for what is no SavedModel.
    """
    node = next(_batches(_parsed(content)), None)
    if node is None:
        return None
    allowed = _allowed_sizes(node)
    # Where requests are split, the largest allowed size is what runs at once, and the maximum what one may send.
    return Batching(
        allowed[-1] if _splits(node) and allowed else node.attr["max_batch_size"].i,
        node.attr["batch_timeout_micros"].i,
        node.attr["num_batch_threads"].i,
        node.attr[_ENQUEUED].i if _ENQUEUED in node.attr else _DEFAULT_ENQUEUED,
        allowed,
        node.attr[_PADDING].s.decode() if _PADDING in node.attr else Batching.padding_policy,
    )


def with_batching(content: bytes, batching: Batching) -> bytes:
    """A `saved_model.pb` with these attributes in all of its batches, and nothing else changed.

    Each keeps its padding policy, which is not tuned. A batch that splits large requests still takes those it took.
    One that does not is padded only if it was.
    """
    model = _parsed(content)
    for node in _batches(model):
        splits, padded = _splits(node), bool(_allowed_sizes(node))
        largest = max(node.attr["max_batch_size"].i, batching.batch_size) if splits else batching.batch_size
        node.attr["max_batch_size"].i = largest
        node.attr["batch_timeout_micros"].i = batching.timeout_micros
        node.attr["num_batch_threads"].i = batching.num_threads
        node.attr[_ENQUEUED].i = batching.max_enqueued_batches
        if splits or padded:
            node.attr[_ALLOWED].list.i[:] = batching.allowed_sizes
    return bytes(model.SerializeToString())


# What has its default value is not in the file, and to look up what is not there would put an empty attribute in.
def _splits(node: Any) -> bool:
    return _SPLITTING in node.attr and bool(node.attr[_SPLITTING].b)


def _allowed_sizes(node: Any) -> tuple[int, ...]:
    return tuple(node.attr[_ALLOWED].list.i) if _ALLOWED in node.attr else ()


def _parsed(content: bytes) -> Any:
    model = SavedModel()
    try:
        model.ParseFromString(content)
    except DecodeError as error:
        raise CommandError(f"saved_model.pb cannot be read ({error}); export the version again") from None
    return model


def _batches(model: Any) -> Iterator[Any]:
    """The nodes, in the graphs themselves and in their functions."""
    for meta_graph in model.meta_graphs:
        graph = meta_graph.graph_def
        for nodes in (graph.node, *(function.node_def for function in graph.library.function)):
            yield from (node for node in nodes if node.op == _BATCH)
