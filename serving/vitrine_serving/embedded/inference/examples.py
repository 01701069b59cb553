"""What classify, regress and multi-inference share: examples in, and the shape of what comes out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import input_pb2

from vitrine_serving.embedded.errors import invalid_argument
from vitrine_serving.embedded.inference.model import Model
from vitrine_serving.embedded.inference.saved_model import DEFAULT_SIGNATURE
from vitrine_serving.embedded.inference.tensors import MAX_REPEATED_BYTES


def serialized_examples(examples: input_pb2.Input) -> NDArray[Any]:
    """The examples as a string array [N], the shared context merged into each.

    Raises ServingError INVALID_ARGUMENT when there are none.
    """
    context = b""
    listed = examples.example_list.examples
    if examples.WhichOneof("kind") == "example_list_with_context":
        # Concatenated messages parse as one merged message.
        context = examples.example_list_with_context.context.SerializeToString()
        listed = examples.example_list_with_context.examples
    if not listed:
        raise invalid_argument("Input is empty.")
    if len(context) * len(listed) > MAX_REPEATED_BYTES:
        raise invalid_argument(
            f"The context of {len(context)} bytes merged into each of {len(listed)} examples is too large; "
            "send smaller batches"
        )
    array = np.empty(len(listed), np.object_)
    array[:] = [context + example.SerializeToString() for example in listed]
    return array


def find_signature(model: Model, signature_name: str) -> meta_graph_pb2.SignatureDef:
    """The signature named, `serving_default` for an empty name; ServingError INVALID_ARGUMENT without it."""
    signature_name = signature_name or DEFAULT_SIGNATURE
    signature = model.signatures.get(signature_name)
    if signature is None:
        raise invalid_argument(f"No signature was found with the name: {signature_name}")
    return signature


def shape_text(array: NDArray[Any]) -> str:
    """A shape as TensorFlow's errors print it: `[2,3]`."""
    return "[" + ",".join(map(str, array.shape)) + "]"
