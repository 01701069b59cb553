"""Classify, Regress, MultiInference and Predict of models of many makes, by version and label, gRPC and REST."""

from __future__ import annotations

import queue
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
import tf1models
from embedded_server import ModelServer, channel_to, model_spec, running_server, status_of
from processes import DEADLINE_SECONDS
from tensorflow_serving.apis import (
    classification_pb2,
    inference_pb2,
    input_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"


def write_checkpoint(version: Path) -> None:
    """Saved from a bare trackable; its input may have any shape."""
    root = tf.train.Checkpoint()
    root.v1, root.v2 = tf.Variable(3.0), tf.Variable(2.0)
    root.f = tf.function(lambda x: {"y": root.v1 * root.v2 * x})
    tf.saved_model.save(root, str(version), root.f.get_concrete_function(tf.TensorSpec(None, tf.float32)))


def write_constants(version: Path) -> None:
    """Signatures that take an input and do not look at it."""
    root = tf.train.Checkpoint()
    any_float = [tf.TensorSpec(None, tf.float32)]
    root.one = tf.function(lambda x: {"y": 1.0}, input_signature=any_float)
    root.two = tf.function(lambda x: {"y": 2.0}, input_signature=any_float)
    tf.saved_model.save(root, str(version), {"serving_default": root.one, "custom_signature_key": root.two})


def keras_model() -> tf.keras.Model:
    layers = tf.keras.layers
    dense = layers.Dense(1, kernel_initializer="ones", bias_initializer="zeros", name="y")
    return tf.keras.Sequential([layers.Input((1,), name="x"), dense])


def write_keras_mirrored(version: Path) -> None:
    with tf.distribute.MirroredStrategy(["/cpu:0"]).scope():
        model = keras_model()
    tf.saved_model.save(model, str(version))


@pytest.fixture(scope="module")
def server(tmp_path_factory, written_models):
    """Many models in one list; `half_plus_two` in two versions, `stable` and `canary`."""
    folder = tmp_path_factory.mktemp("apis")
    makers = {
        "half_plus_two/00000123": tf1models.write_half_plus_two,
        "half_plus_two/124": tf1models.write_half_plus_two,
        "half_plus_three/123": lambda path: path.symlink_to(written_models / "plus_three"),
        "checkpoint/123": write_checkpoint,
        "constants/123": write_constants,
        "keras_exported/123": lambda path: keras_model().export(str(path), verbose=False),
        "keras_saved/123": lambda path: tf.saved_model.save(keras_model(), str(path)),
        "keras_mirrored/123": write_keras_mirrored,
    }
    names = []
    for path, make in makers.items():
        (folder / path).parent.mkdir(exist_ok=True)
        make(folder / path)
        names.append(path.partition("/")[0])
    models = {name: "" for name in names} | {
        "half_plus_two": """model_version_policy { all {} }
            version_labels { key: "stable" value: 123 } version_labels { key: "canary" value: 124 }"""
    }
    entries = [
        f'config {{ name: "{name}" base_path: "{folder / name}" model_platform: "tensorflow" {fields} }}'
        for name, fields in models.items()
    ]
    (folder / "models.config").write_text(f"model_config_list {{ {' '.join(entries)} }}")
    with running_server(
        None,
        folder / "server.log",
        f"--model_config_file={folder / 'models.config'}",
        "--allow_version_labels_for_unavailable_models",
        "--grpc_channel_arguments=grpc.max_connection_age_ms=2000,grpc.lb_policy_name=grpclb",
        f"--grpc_socket_path={folder / 'serving.sock'}",
        "--rest_api_timeout_in_ms=5000",
    ) as running:
        running.socket = f"unix:{folder / 'serving.sock'}"
        yield running


def examples(*values: float, feature: str = "x") -> input_pb2.Input:
    request = input_pb2.Input()
    request.example_list.SetInParent()
    for value in values:
        example = request.example_list.examples.add()
        example.features.feature[feature].float_list.value.append(value)
    return request


def classify(server: ModelServer, input: input_pb2.Input, **target) -> classification_pb2.ClassificationResponse:
    spec = model_spec("half_plus_two", **({"signature_name": "classify_x_to_y"} | target))
    request = classification_pb2.ClassificationRequest(model_spec=spec, input=input)
    return server.prediction.Classify(request, timeout=DEADLINE_SECONDS)


def regress(server: ModelServer, input: input_pb2.Input, **target) -> regression_pb2.RegressionResponse:
    spec = model_spec("half_plus_two", **({"signature_name": "regress_x_to_y"} | target))
    request = regression_pb2.RegressionRequest(model_spec=spec, input=input)
    return server.prediction.Regress(request, timeout=DEADLINE_SECONDS)


def values(response: regression_pb2.RegressionResponse) -> list[float]:
    return [regression.value for regression in response.result.regressions]


def spec_of(message) -> tuple[str, int, str, str]:
    spec = message.model_spec
    return spec.name, spec.version.value, spec.version_label, spec.signature_name


def test_classify(server):
    response = classify(server, examples(2.0, 4.0))
    [first, second] = response.result.classifications
    assert [(found.label, found.score) for found in first.classes] == [("", 3.0)]
    assert [(found.label, found.score) for found in second.classes] == [("", 4.0)]
    assert spec_of(response) == ("half_plus_two", 124, "", "classify_x_to_y")


def test_regress(server):
    response = regress(server, examples(2.0, 4.0))
    assert values(response) == [3.0, 4.0]
    assert spec_of(response) == ("half_plus_two", 124, "", "regress_x_to_y")


@pytest.mark.parametrize(
    ("target", "version"), [({"version": 123}, 123), ({"label": "stable"}, 123), ({"label": "canary"}, 124)]
)
def test_the_version_that_a_number_or_a_label_stands_for(server, target, version):
    assert spec_of(classify(server, examples(2.0), **target)) == ("half_plus_two", version, "", "classify_x_to_y")
    assert spec_of(regress(server, examples(2.0), **target)) == ("half_plus_two", version, "", "regress_x_to_y")
    response = server.predict({"x": [[2.0]]}, model="half_plus_two", **target)
    assert spec_of(response) == ("half_plus_two", version, "", "serving_default")
    assert list(response.outputs["y"].float_val) == [3.0]


def test_a_context_for_all_examples(server):
    request = input_pb2.Input()
    request.example_list_with_context.context.features.feature["x2"].float_list.value.append(8.0)
    for _ in range(2):
        example = request.example_list_with_context.examples.add()
        example.features.feature["x"].float_list.value.append(2.0)
    assert values(regress(server, request)) == [3.0, 3.0]
    assert values(regress(server, request, signature_name="regress_x_to_y2")) == [4.0, 4.0]


def multi_inference(server, *tasks: tuple[str, str, str]) -> inference_pb2.MultiInferenceResponse:
    request = inference_pb2.MultiInferenceRequest(input=examples(2.0))
    for name, signature_name, method in tasks:
        request.tasks.add(model_spec=model_spec(name, signature_name=signature_name), method_name=method)
    return server.prediction.MultiInference(request, timeout=DEADLINE_SECONDS)


def test_multi_inference(server):
    response = multi_inference(
        server, ("half_plus_two", "regress_x_to_y", REGRESS), ("half_plus_two", "classify_x_to_y", CLASSIFY)
    )
    regression, classification = response.results
    assert regression.regression_result.regressions[0].value == 3.0
    assert classification.classification_result.classifications[0].classes[0].score == 3.0
    assert spec_of(regression) == ("half_plus_two", 124, "", "regress_x_to_y")
    assert spec_of(classification) == ("half_plus_two", 124, "", "classify_x_to_y")


TWICE = ("half_plus_two", "regress_x_to_y", REGRESS)


@pytest.mark.parametrize(
    ("tasks", "code", "phrase"),
    [
        ([], "INVALID_ARGUMENT", ""),
        ([TWICE, TWICE], "INVALID_ARGUMENT", "Duplicate evaluation of signature: regress_x_to_y"),
        ([("half_plus_two", "serving_default", "tensorflow/serving/predict")], "UNIMPLEMENTED", "Unsupported signature"),
        ([("half_plus_two", "none", REGRESS)], "INVALID_ARGUMENT", "none"),
        ([("other", "regress_x_to_y", REGRESS)], "NOT_FOUND", "Servable not found for request: Latest(other)"),
    ],
)
def test_multi_inferences_that_cannot_be_done(server, tasks, code, phrase):
    got, message = status_of(lambda: multi_inference(server, *tasks))
    assert (got.name, phrase in message) == (code, True), message


@pytest.mark.parametrize("ask", [classify, regress])
@pytest.mark.parametrize(
    ("input", "target", "code", "phrase"),
    [
        (input_pb2.Input(), {}, "INVALID_ARGUMENT", "Input is empty"),
        (examples(), {}, "INVALID_ARGUMENT", "Input is empty"),
        (examples(2.0, feature="z"), {}, "INVALID_ARGUMENT", "Feature: x (data type: float) is required"),
        (examples(2.0), {"signature_name": "none"}, "INVALID_ARGUMENT", "none"),
        (examples(2.0), {"version": 9}, "NOT_FOUND", "Servable not found for request: Specific(half_plus_two, 9)"),
        (examples(2.0), {"label": "old"}, "INVALID_ARGUMENT", "Unrecognized servable version label: old"),
    ],
)
def test_requests_that_cannot_be_answered(server, ask, input, target, code, phrase):
    got, message = status_of(lambda: ask(server, input, **target))
    assert (got.name, phrase in message) == (code, True), message


def rest(server: ModelServer, method: str, body: object, path: str = "", model: str = "half_plus_two"):
    response = server.post(body, f"{path}:{method}", model)
    return response.status_code, response.json()


@pytest.mark.parametrize("path", ["", "/versions/123", "/labels/stable", "/labels/canary"])
def test_rest_by_version_and_label(server, path):
    body = {"signature_name": "classify_x_to_y", "examples": [{"x": 2.0}]}
    assert rest(server, "classify", body, path) == (200, {"results": [[["", 3.0]]]})
    body = {"signature_name": "regress_x_to_y", "examples": [{"x": 2.0}, {"x": [4.0]}]}
    assert rest(server, "regress", body, path) == (200, {"results": [3.0, 4.0]})
    assert rest(server, "predict", {"instances": [2.0, 3.0, 4.0]}, path) == (200, {"predictions": [3.0, 3.5, 4.0]})
    assert rest(server, "predict", {"inputs": [2.0, 3.0, 4.0]}, path) == (200, {"outputs": [3.0, 3.5, 4.0]})


def test_rest_with_a_context(server):
    body = {"signature_name": "regress_x_to_y2", "context": {"x2": 8.0}, "examples": [{"x": 2.0}]}
    assert rest(server, "regress", body) == (200, {"results": [4.0]})


@pytest.mark.parametrize(
    ("method", "body", "path", "status", "phrase"),
    [
        ("classify", {"examples": [{"x": 2.0}]}, "", 400, "inputs"),
        ("regress", {"signature_name": "none", "examples": [{"x": 2.0}]}, "", 400, "none"),
        ("classify", {"signature_name": "classify_x_to_y", "examples": []}, "", 400, ""),
        ("classify", {"signature_name": "classify_x_to_y", "instances": [2.0]}, "", 400, "examples"),
        ("regress", {"signature_name": "regress_x_to_y", "examples": [{"z": 2.0}]}, "", 400, "Feature: x"),
        ("regress", {"examples": [{"x": 2.0}]}, "/versions/9", 404, "Specific(half_plus_two, 9)"),
        ("regress", {"examples": [{"x": 2.0}]}, "/labels/old", 400, "label: old"),
    ],
)
def test_rest_requests_that_cannot_be_answered(server, method, body, path, status, phrase):
    got, answer = rest(server, method, body, path)
    assert (got, phrase in answer["error"]) == (status, True), answer


def test_status_of_all_and_of_one_version_over_rest(server):
    def available(version: str) -> dict[str, object]:
        return {"version": version, "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}

    both = {"model_version_status": [available("124"), available("123")]}
    assert server.get("/v1/models/half_plus_two").json() == both
    stable = {"model_version_status": [available("123")]}
    assert server.get("/v1/models/half_plus_two/versions/123").json() == stable


@pytest.mark.parametrize(
    ("model", "signature_name", "x", "expected"),
    [
        ("half_plus_two", "", [[2.0]], ("y", 3.0)),
        ("half_plus_two", "serving_default", [2.0], ("y", 3.0)),
        ("half_plus_three", "", [2.0], ("y", 4.0)),
        ("checkpoint", "", [2.0], ("y", 12.0)),
        ("constants", "", [2.0], ("y", 1.0)),
        ("constants", "custom_signature_key", [2.0], ("y", 2.0)),
        ("keras_exported", "", [[2.0]], ("output_0", 2.0)),
        ("keras_saved", "", [[2.0]], ("output_0", 2.0)),
        ("keras_mirrored", "", [[2.0]], ("output_0", 2.0)),
    ],
)
def test_models_of_many_makes(server, model, signature_name, x, expected):
    response = server.predict({"x": np.array(x, np.float32)}, signature_name, model=model)
    alias, value = expected
    assert set(response.outputs) == {alias}
    assert response.outputs[alias].dtype == tf.float32.as_datatype_enum
    assert list(response.outputs[alias].float_val) == [value]
    assert response.model_spec.signature_name == (signature_name or "serving_default")


def test_a_socket_in_the_file_system_beside_the_port(server):
    with channel_to(server.socket) as channel:
        request = classification_pb2.ClassificationRequest(
            model_spec=model_spec("half_plus_two", "classify_x_to_y"), input=examples(2.0)
        )
        response = prediction_service_pb2_grpc.PredictionServiceStub(channel).Classify(request)
    assert response.result.classifications[0].classes[0].score == 3.0


def test_channel_arguments_reach_grpc(server):
    """The server was told to end connections that are two seconds old."""
    seen: queue.SimpleQueue[grpc.ChannelConnectivity] = queue.SimpleQueue()
    with channel_to(f"127.0.0.1:{server.port}") as channel:
        channel.subscribe(seen.put, try_to_connect=True)
        states = []
        while states[-2:] != [grpc.ChannelConnectivity.READY, grpc.ChannelConnectivity.IDLE]:
            states.append(seen.get(timeout=DEADLINE_SECONDS))
