"""Classify: examples in, labels and scores out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import classification_pb2, input_pb2

from vitrine_serving.embedded.errors import invalid_argument
from vitrine_serving.embedded.inference.deadlines import TimeLeft, unlimited
from vitrine_serving.embedded.inference.examples import find_signature, serialized_examples, shape_text
from vitrine_serving.embedded.inference.model import Model
from vitrine_serving.embedded.inference.tensors import type_name

METHOD_NAME = tf.saved_model.CLASSIFY_METHOD_NAME
INPUTS = tf.saved_model.CLASSIFY_INPUTS
CLASSES = tf.saved_model.CLASSIFY_OUTPUT_CLASSES
SCORES = tf.saved_model.CLASSIFY_OUTPUT_SCORES

_STRING = np.dtype(np.object_)
_FLOAT = np.dtype(np.float32)


def classify(
    model: Model,
    signature_name: str,
    examples: input_pb2.Input,
    check_method_name: bool = False,
    time_left: TimeLeft = unlimited,
) -> classification_pb2.ClassificationResult:
    """Each example's classes, in the order of the model; an empty name means `serving_default`.

    A signature answers with `classes`, `scores` or both, [N, K]. With `check_method_name` its method must
    be `tensorflow/serving/classify`. Raises ServingError, INVALID_ARGUMENT unless the graph itself fails.
    """
    signature = find_signature(model, signature_name)
    outputs = check_signature(signature, check_method_name)
    array = serialized_examples(examples)
    return to_result(model.run(signature_name, {INPUTS: array}, outputs, time_left), len(array))


def check_signature(signature: meta_graph_pb2.SignatureDef, check_method_name: bool) -> list[str]:
    """The outputs to fetch from a signature; ServingError INVALID_ARGUMENT when it cannot classify."""
    if check_method_name and signature.method_name != METHOD_NAME:
        raise invalid_argument(
            f"Expected classification signature method_name to be {METHOD_NAME}. Was: {signature.method_name}"
        )
    if len(signature.inputs) != 1:
        raise invalid_argument("Expected one input Tensor.")
    if len(signature.outputs) not in (1, 2):
        raise invalid_argument(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    if INPUTS not in signature.inputs:
        raise invalid_argument(f"No classification inputs found in SignatureDef: {signature}")
    outputs = [name for name in (CLASSES, SCORES) if name in signature.outputs]
    if not outputs:
        raise invalid_argument(
            f'Expected classification signature outputs to contain at least one of "{CLASSES}" or "{SCORES}". '
            f"Signature was: {signature}"
        )
    return outputs


def to_result(outputs: Mapping[str, NDArray[Any]], examples: int) -> classification_pb2.ClassificationResult:
    """`classes` string [N, K] and `scores` float32 [N, K], or one of them, as a message.

    Raises ServingError INVALID_ARGUMENT when they have another type or shape; N is `examples`.
    """
    classes, scores = outputs.get(CLASSES), outputs.get(SCORES)
    _check_output("classes", classes, _STRING, examples)
    _check_output("scores", scores, _FLOAT, examples)
    if classes is not None and scores is not None and classes.shape != scores.shape:
        raise invalid_argument(
            f"Tensors class and score should match in dim_size(1). Got {classes.shape[1]} vs. {scores.shape[1]}"
        )
    result = classification_pb2.ClassificationResult()
    for row in range(examples):
        found = result.classifications.add().classes
        # A label is text on the wire, and a model's bytes may be no UTF-8.
        labels = None if classes is None else [label.decode(errors="replace") for label in classes[row]]
        values = None if scores is None else scores[row].tolist()
        for place in range(len(labels if labels is not None else values or ())):
            found.add(label=labels and labels[place], score=values and values[place])
    return result


def _check_output(name: str, array: NDArray[Any] | None, dtype: np.dtype[Any], examples: int) -> None:
    if array is None:
        return
    if array.ndim != 2:
        raise invalid_argument(f"Expected Tensor shape: [batch_size num_classes] but got {shape_text(array)}")
    if array.dtype != dtype:
        raise invalid_argument(
            f"Expected {name} Tensor of DT_{type_name(dtype).upper()}. Got: DT_{type_name(array.dtype).upper()}"
        )
    if len(array) != examples:
        raise invalid_argument(f"Expected {name} output batch size of {examples}. Got: {len(array)}")
