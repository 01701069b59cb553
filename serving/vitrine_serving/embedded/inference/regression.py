"""Regress: examples in, one number each out."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import input_pb2, regression_pb2

from vitrine_serving.embedded.errors import invalid_argument
from vitrine_serving.embedded.inference.deadlines import TimeLeft, unlimited
from vitrine_serving.embedded.inference.examples import find_signature, serialized_examples, shape_text
from vitrine_serving.embedded.inference.model import Model
from vitrine_serving.embedded.inference.tensors import type_name

METHOD_NAME = tf.saved_model.REGRESS_METHOD_NAME
INPUTS = tf.saved_model.REGRESS_INPUTS
OUTPUTS = tf.saved_model.REGRESS_OUTPUTS


def regress(
    model: Model,
    signature_name: str,
    examples: input_pb2.Input,
    check_method_name: bool = False,
    time_left: TimeLeft = unlimited,
) -> regression_pb2.RegressionResult:
    """One value an example; an empty name means `serving_default`.

    A signature answers with `outputs` float32, [N] or [N, 1]. With `check_method_name` its method must be
    `tensorflow/serving/regress`. Raises ServingError, INVALID_ARGUMENT unless the graph itself fails.
    """
    signature = find_signature(model, signature_name)
    check_signature(signature, check_method_name)
    array = serialized_examples(examples)
    outputs = model.run(signature_name, {INPUTS: array}, [OUTPUTS], time_left)
    return to_result(outputs[OUTPUTS], len(array))


def check_signature(signature: meta_graph_pb2.SignatureDef, check_method_name: bool) -> None:
    """ServingError INVALID_ARGUMENT when the signature cannot regress."""
    if check_method_name and signature.method_name != METHOD_NAME:
        raise invalid_argument(
            f"Expected regression signature method_name to be {METHOD_NAME}. Was: {signature.method_name}"
        )
    if len(signature.inputs) != 1:
        raise invalid_argument("Expected one input Tensor.")
    if len(signature.outputs) != 1:
        raise invalid_argument("Expected one output Tensor.")
    if INPUTS not in signature.inputs:
        raise invalid_argument(f"No regression inputs found in SignatureDef: {signature}")
    if OUTPUTS not in signature.outputs:
        raise invalid_argument(f"No regression outputs found in SignatureDef: {signature}")


def to_result(array: NDArray[Any], examples: int) -> regression_pb2.RegressionResult:
    """Values float32 [N] or [N, 1] as a message.

    Raises ServingError INVALID_ARGUMENT for another type or shape; N is `examples`.
    """
    if array.ndim != 1 and (array.ndim != 2 or array.shape[1] != 1):
        raise invalid_argument(
            f"Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got {shape_text(array)}"
        )
    if len(array) != examples:
        raise invalid_argument(f"Input batch size did not match output batch size: {examples} vs. {len(array)}")
    if array.dtype != np.float32:
        raise invalid_argument(f"Expected output Tensor of DT_FLOAT.  Got: DT_{type_name(array.dtype).upper()}")
    result = regression_pb2.RegressionResult()
    for value in array.ravel().tolist():
        result.regressions.add(value=value)
    return result
