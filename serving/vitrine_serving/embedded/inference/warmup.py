"""Replays a SavedModel's recorded requests, so that the first client does not pay for lazy set-up."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from tensorflow_serving.apis import input_pb2, prediction_log_pb2

from vitrine_serving.embedded.errors import Code, ServingError, invalid_argument
from vitrine_serving.embedded.inference.saved_model import SavedModel
from vitrine_serving.embedded.inference.tensors import to_ndarray

FILE = "assets.extra/tf_serving_warmup_requests"
MAX_RECORDS = 1000


def replay(model: SavedModel, path: str) -> int:
    """Run the warm-up requests of the SavedModel in directory `path`; returns how many there were.

    A model without a warm-up file has none. Predict, classify, regress and multi-inference records are run; as in
    TensorFlow Serving any failure, a file that is not a TFRecord of PredictionLog, and more than 1000
    records raise ServingError.
    """
    warmup_file = tf.io.gfile.join(path, FILE)
    if not tf.io.gfile.exists(warmup_file):
        return 0
    count = 0
    try:
        for record in tf.compat.v1.io.tf_record_iterator(warmup_file):
            count += 1
            if count > MAX_RECORDS:
                raise invalid_argument(f"Number of warmup records exceeds the maximum ({MAX_RECORDS}) at {warmup_file}")
            _run(model, _parse(record, warmup_file))
    except tf.errors.DataLossError as error:
        raise ServingError(
            Code.DATA_LOSS,
            f"{error.message} in {warmup_file}. Please verify your warmup data is in TFRecord format.",
        ) from error
    except tf.errors.OpError as error:
        raise ServingError(Code(error.error_code), f"Cannot read {warmup_file}: {error.message}") from error
    return count


def _parse(record: bytes, warmup_file: str) -> prediction_log_pb2.PredictionLog:
    try:
        return prediction_log_pb2.PredictionLog.FromString(record)
    except DecodeError as error:
        raise invalid_argument(f"Failed to parse warmup record from {warmup_file}") from error


def _run(model: SavedModel, log: prediction_log_pb2.PredictionLog) -> None:
    kind = log.WhichOneof("log_type")
    if kind == "predict_log":
        request = log.predict_log.request
        inputs = {name: to_ndarray(name, proto) for name, proto in request.inputs.items()}
        model.run(request.model_spec.signature_name, inputs, list(request.output_filter))
    elif kind in ("classify_log", "regress_log"):
        request = getattr(log, kind).request
        model.run(request.model_spec.signature_name, {"inputs": _serialized_examples(request.input)})
    elif kind == "multi_inference_log":
        request = log.multi_inference_log.request
        for task in request.tasks:
            model.run(task.model_spec.signature_name, {"inputs": _serialized_examples(request.input)})
    elif kind is not None:
        raise ServingError(Code.UNIMPLEMENTED, f"Unsupported log_type for warmup: {kind}")


def _serialized_examples(examples: input_pb2.Input) -> NDArray[Any]:
    """The request's examples as a string array [N], the shared context merged into each."""
    if examples.WhichOneof("kind") == "example_list_with_context":
        # Concatenated messages parse as one merged message.
        context = examples.example_list_with_context.context.SerializeToString()
        listed = examples.example_list_with_context.examples
    else:
        context = b""
        listed = examples.example_list.examples
    array = np.empty(len(listed), np.object_)
    array[:] = [context + example.SerializeToString() for example in listed]
    return array
