"""The batch in a SavedModel's graph: its attributes read, and others put in their place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf.message import DecodeError

from vitrine_serving.embedded.inference.batch_function import (
    ALLOWED_SIZES,
    BATCH_FUNCTION,
    ENQUEUED,
    allowed_sizes,
    enqueued,
    splits,
)
from vitrine_serving.errors import CommandError
from vitrine_serving.tune.candidates import Batching
from vitrine_serving.tune.saved_model import SavedModel

_PADDING = "batch_padding_policy"


def graph_batching(content: bytes) -> Batching | None:
    """The batch of a `saved_model.pb`, of the first where there are several; None where there is none.

    Raises CommandError for what is no SavedModel.
    """
    node = next(_batches(_parsed(content)), None)
    if node is None:
        return None
    allowed = allowed_sizes(node)
    # Where requests are split, the largest allowed size is what runs at once, and the maximum what one may send.
    return Batching(
        allowed[-1] if splits(node) and allowed else node.attr["max_batch_size"].i,
        node.attr["batch_timeout_micros"].i,
        node.attr["num_batch_threads"].i,
        enqueued(node),
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
        splits_requests, padded = splits(node), bool(allowed_sizes(node))
        largest = max(node.attr["max_batch_size"].i, batching.batch_size) if splits_requests else batching.batch_size
        node.attr["max_batch_size"].i = largest
        node.attr["batch_timeout_micros"].i = batching.timeout_micros
        node.attr["num_batch_threads"].i = batching.num_threads
        node.attr[ENQUEUED].i = batching.max_enqueued_batches
        if splits_requests or padded:
            node.attr[ALLOWED_SIZES].list.i[:] = batching.allowed_sizes
    return bytes(model.SerializeToString())


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
            yield from (node for node in nodes if node.op == BATCH_FUNCTION)
