"""Replays a SavedModel's recorded requests, so that the first client does not pay for lazy set-up."""

from __future__ import annotations

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import prediction_log_pb2

from vitrine_serving.embedded.errors import Code, ServingError, invalid_argument
from vitrine_serving.embedded.inference.classification import classify
from vitrine_serving.embedded.inference.model import Model
from vitrine_serving.embedded.inference.multi_inference import multi_inference
from vitrine_serving.embedded.inference.regression import regress
from vitrine_serving.embedded.inference.saved_model import DEFAULT_SIGNATURE, check_method_name
from vitrine_serving.embedded.inference.tensors import to_ndarray

FILE = "assets.extra/tf_serving_warmup_requests"
MAX_RECORDS = 1000


def replay(model: Model, path: str, iterations: int = 1, check_method_names: bool = False) -> int:
    """Run the warm-up requests of the SavedModel in directory `path`; returns how many there were.

    A model without a warm-up file has none. Each predict, classify, regress and multi-inference record is
    run `iterations` times and must succeed; recorded streams and empty records are skipped. As in
    TensorFlow Serving any failure, a recorded session run, a file that is not a TFRecord of PredictionLog,
    and more than 1000 records raise ServingError.
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
            log = _parse(record, warmup_file)
            for _ in range(iterations):
                _run(model, log, check_method_names)
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


def _run(model: Model, log: prediction_log_pb2.PredictionLog, check_method_names: bool) -> None:
    kind = log.WhichOneof("log_type")
    if kind == "predict_log":
        request = log.predict_log.request
        signature = model.signatures.get(request.model_spec.signature_name or DEFAULT_SIGNATURE)
        if check_method_names and signature is not None:
            check_method_name(signature)
        inputs = {name: to_ndarray(name, proto) for name, proto in request.inputs.items()}
        model.run(request.model_spec.signature_name, inputs, list(request.output_filter))
    elif kind == "classify_log":
        classification = log.classify_log.request
        classify(model, classification.model_spec.signature_name, classification.input, check_method_names)
    elif kind == "regress_log":
        regression = log.regress_log.request
        regress(model, regression.model_spec.signature_name, regression.input, check_method_names)
    elif kind == "multi_inference_log":
        several = log.multi_inference_log.request
        multi_inference(model, several.tasks, several.input, check_method_names)
    elif kind == "session_run_log":
        number = log.DESCRIPTOR.fields_by_name[kind].number
        raise ServingError(Code.UNIMPLEMENTED, f"Unsupported log_type for warmup: {number}")
