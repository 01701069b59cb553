"""Classify, Regress, MultiInference and Predict of models of many makes, by version and label, gRPC and REST."""

from __future__ import annotations

import queue

import grpc
import numpy as np
import pytest
import tensorflow as tf
from embedded_server import ModelServer, channel_to, model_spec, running_server, status_of
from manymakes import write_many_makes
from modelconfigs import write_model_list
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


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("apis")
    config_file = write_model_list(folder / "models.config", write_many_makes(folder))
    with running_server(
        None,
        folder / "server.log",
        f"--model_config_file={config_file}",
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


def multi_inference(server, *tasks: tuple[str, str, str] | None) -> inference_pb2.MultiInferenceResponse:
    """Tasks are a model, a signature and a method; None is a task without a model."""
    request = inference_pb2.MultiInferenceRequest(input=examples(2.0))
    for task in tasks:
        if task is None:
            request.tasks.add(method_name=REGRESS)
        else:
            name, signature_name, method = task
            request.tasks.add(model_spec=model_spec(name, signature_name), method_name=method)
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
        ([], "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        ([TWICE, TWICE], "INVALID_ARGUMENT", "Duplicate evaluation of signature: regress_x_to_y"),
        (
            [("half_plus_two", "serving_default", "tensorflow/serving/predict")],
            "UNIMPLEMENTED",
            "Unsupported signature",
        ),
        (
            [("half_plus_two", "none", REGRESS)],
            "INVALID_ARGUMENT",
            "Requested signature not found in model graph: none",
        ),
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
        (examples(2.0), {"signature_name": "none"}, "INVALID_ARGUMENT", "No signature was found with the name: none"),
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
        ("classify", {"examples": [{"x": 2.0}]}, "", 400, "No classification inputs found"),
        (
            "regress",
            {"signature_name": "none", "examples": [{"x": 2.0}]},
            "",
            400,
            "No signature was found with the name: none",
        ),
        (
            "classify",
            {"signature_name": "classify_x_to_y", "examples": []},
            "",
            400,
            "'examples' value is an empty array",
        ),
        ("classify", {"signature_name": "classify_x_to_y", "instances": [2.0]}, "", 400, "key 'examples' is expected"),
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
        ("half_plus_two", "", [[2.0]], 3.0),
        ("half_plus_two", "serving_default", [2.0], 3.0),
        ("half_plus_three", "", [2.0], 4.0),
        ("checkpoint", "", [2.0], 12.0),
        ("constants", "", [2.0], 1.0),
        ("constants", "custom_signature_key", [2.0], 2.0),
    ],
)
def test_models_of_many_makes(server, model, signature_name, x, expected):
    response = server.predict({"x": np.array(x, np.float32)}, signature_name, model=model)
    assert response.outputs.keys() == {"y"}
    assert response.outputs["y"].dtype == tf.float32.as_datatype_enum
    assert list(response.outputs["y"].float_val) == [expected]
    assert response.model_spec.signature_name == (signature_name or "serving_default")


@pytest.mark.parametrize(("model", "alias"), [("keras_exported", "x"), ("keras_saved", "inputs")])
def test_models_of_keras(server, model, alias):
    response = server.predict({alias: [[2.0]]}, model=model)
    assert list(response.outputs["output_0"].float_val) == [2.0]


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
