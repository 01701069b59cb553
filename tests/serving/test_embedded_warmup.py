"""Recorded requests are replayed through the same functions that answer clients."""

from __future__ import annotations

import numpy as np
import pytest
import savedmodels
import tensorflow as tf
import tf1models
from tensorflow_serving.apis import prediction_log_pb2

from vitrine_serving.embedded.errors import Code, ServingError
from vitrine_serving.embedded.inference.saved_model import SessionOptions, load_saved_model
from vitrine_serving.embedded.inference.warmup import FILE, replay
from vitrine_serving.embedded.loading import Loader, LoadOptions
from vitrine_serving.embedded.metrics.server_metrics import ServerMetrics


@pytest.fixture
def written(tmp_path):
    return tf1models.write_half_plus_two(tmp_path / "1")


@pytest.fixture
def model(written):
    model = load_saved_model(str(written))
    yield model
    model.close()


def record(kind: str, *signature_names: str) -> prediction_log_pb2.PredictionLog:
    log = prediction_log_pb2.PredictionLog()
    request = getattr(log, kind).request
    example = request.input.example_list.examples.add()
    example.features.feature["x"].float_list.value.append(1)
    if kind == "multi_inference_log":
        for name in signature_names:
            task = request.tasks.add(method_name="tensorflow/serving/regress")
            task.model_spec.name = "model"
            task.model_spec.signature_name = name
    else:
        request.model_spec.signature_name = signature_names[0]
    return log


def write(version, *logs) -> str:
    savedmodels.write_warmup(version, *[log.SerializeToString() for log in logs])
    return str(version)


def test_every_kind_of_request_is_replayed(written, model):
    predict = prediction_log_pb2.PredictionLog()
    predict.predict_log.request.inputs["x"].CopyFrom(tf.make_tensor_proto([1.0]))
    stream = prediction_log_pb2.PredictionLog()
    stream.predict_streamed_log.request.add()
    logs = [
        predict,
        record("classify_log", "classify_both"),
        record("regress_log", "regress_x_to_y"),
        record("multi_inference_log", "regress_x_to_y", "regress_x_to_y2"),
        stream,
        prediction_log_pb2.PredictionLog(),
    ]
    assert replay(model, write(written, *logs)) == len(logs)


@pytest.mark.parametrize("iterations", [1, 3])
def test_each_record_runs_as_often_as_asked(written_models, tmp_path, iterations):
    savedmodels.write_warmup(tmp_path, *[savedmodels.predict_log("count", x=[1.0])] * 2)
    model = load_saved_model(str(written_models / "showcase"))
    assert replay(model, str(tmp_path), iterations) == 2
    calls = model.run("count", {"x": np.ones(1, np.float32)})["calls"].item()
    model.close()
    assert calls == 2 * iterations + 1


@pytest.mark.parametrize(
    ("log", "code", "phrase"),
    [
        (record("classify_log", "none"), "INVALID_ARGUMENT", "No signature was found with the name: none"),
        (record("classify_log", "double_scores"), "INVALID_ARGUMENT", "Expected scores Tensor of DT_FLOAT"),
        (record("regress_log", "wide_values"), "INVALID_ARGUMENT", "[batch_size, 1] but got [1,2]"),
        (record("multi_inference_log", "regress_x_to_y", "regress_x_to_y"), "INVALID_ARGUMENT", "Duplicate"),
        (
            prediction_log_pb2.PredictionLog(session_run_log=prediction_log_pb2.SessionRunLog()),
            "UNIMPLEMENTED",
            "Unsupported log_type for warmup",
        ),
    ],
)
def test_a_record_fails_as_the_request_would(written, model, log, code, phrase):
    path = write(written, log)
    with pytest.raises(ServingError) as raised:
        replay(model, path)
    assert (raised.value.code.name, phrase in raised.value.message) == (code, True), raised.value.message


def test_method_names_are_checked_on_demand(written, model):
    path = write(written, record("regress_log", "unnamed"))
    assert replay(model, path) == 1
    with pytest.raises(ServingError, match="regression signature method_name") as raised:
        replay(model, path, check_method_names=True)
    assert raised.value.code is Code.INVALID_ARGUMENT


def test_a_broken_file_fails_the_load_and_is_counted(written):
    path = write(written, record("regress_log", "regress_x_to_y"))
    (written / FILE).write_bytes((written / FILE).read_bytes()[:-1])
    metrics = ServerMetrics()
    with pytest.raises(ServingError, match="verify your warmup data") as raised:
        Loader(LoadOptions(SessionOptions(), ("serve",)), metrics).load("model", 1, path)
    assert raised.value.code is Code.DATA_LOSS
    line = f':tensorflow:serving:model_warmup_latency_count{{model_path="{path}",status="DATA_LOSS: '
    assert line in metrics.text()
