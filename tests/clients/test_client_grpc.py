"""gRPC where a healthy server never goes: nobody there, nobody answering, broken bytes."""

from __future__ import annotations

import threading

import grpc
import numpy as np
import pytest
from client_standins import METADATA, PICTURE, PREDICT, STATUS, GrpcStandin
from tensorflow import make_tensor_proto
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    predict_pb2,
)

from vitrine_client import (
    BadResponse,
    DeadlineExceeded,
    GrpcClient,
    Prediction,
    Unavailable,
)


def test_requests_are_tensorflow_servings(grpc_standin: GrpcStandin):
    asked = {}

    def answer(path: str, request: bytes, context: grpc.ServicerContext) -> bytes:
        asked[path] = request
        return b""

    grpc_standin.answer = answer
    with GrpcClient(grpc_standin.target, model="flowers", version=3) as client:
        client.predict({"x": np.ones((1, 2), np.float32)}, "probabilities")
        client.status()
        with pytest.raises(BadResponse, match="signature_def"):
            client.metadata()
    predict = predict_pb2.PredictRequest.FromString(asked[PREDICT])
    assert predict.model_spec.name == "flowers"
    assert predict.model_spec.version.value == 3
    assert predict.model_spec.signature_name == "probabilities"
    assert predict.inputs["x"] == make_tensor_proto(np.ones((1, 2), np.float32))
    status = get_model_status_pb2.GetModelStatusRequest.FromString(asked[STATUS])
    assert (status.model_spec.name, status.model_spec.version.value) == ("flowers", 3)
    metadata = get_model_metadata_pb2.GetModelMetadataRequest.FromString(asked[METADATA])
    assert list(metadata.metadata_field) == ["signature_def"]


def test_no_version_is_asked_for_unless_given(grpc_standin: GrpcStandin):
    def answer(path: str, request: bytes, context: grpc.ServicerContext) -> bytes:
        assert not predict_pb2.PredictRequest.FromString(request).model_spec.HasField("version")
        return classified([[b"rose"]], [[1.0]])

    grpc_standin.answer = answer
    with GrpcClient(grpc_standin.target, model="flowers") as client:
        assert client.classify([PICTURE]) == [Prediction("rose", 1.0, (("rose", 1.0),))]


@pytest.mark.parametrize(
    ("labels", "scores", "reason"),
    [
        (None, [[1.0]], "no output 'labels'"),
        ([[b"rose"]], None, "no output 'scores'"),
        ([[b"rose"]], [[1.0, 2.0]], r"\(1, 2\)"),
        ([b"rose"], [1.0], r"\(1, K\)"),
        ([[b"rose"], [b"rose"]], [[1.0], [1.0]], r"\(1, K\)"),
        (np.empty((1, 0), object), np.empty((1, 0), np.float32), r"\(1, K\)"),
        ([[7]], [[1.0]], "where strings and floats belong"),
        ([[b"rose"]], [[b"1.0"]], "where strings and floats belong"),
    ],
)
def test_answers_that_are_no_classification_are_bad_responses(
    grpc_standin: GrpcStandin, labels: object, scores: object, reason: str
):
    grpc_standin.answer = lambda path, request, context: classified(labels, scores)
    with (
        GrpcClient(grpc_standin.target, model="flowers") as client,
        pytest.raises(BadResponse, match=f"classify of model 'flowers' at {grpc_standin.target}.*{reason}"),
    ):
        client.classify([PICTURE])


def test_labels_that_are_no_text_are_shown_all_the_same(grpc_standin: GrpcStandin):
    grpc_standin.answer = lambda path, request, context: classified([[b"\xffrose"]], [[1.0]])
    with GrpcClient(grpc_standin.target, model="flowers") as client:
        assert client.classify([PICTURE])[0].label == "\N{REPLACEMENT CHARACTER}rose"


@pytest.mark.parametrize("method", ["predict", "status", "metadata"])
def test_broken_bytes_are_a_bad_response(grpc_standin: GrpcStandin, method: str):
    grpc_standin.answer = lambda path, request, context: b"\xff\xff\xff"
    with GrpcClient(grpc_standin.target, model="flowers") as client, pytest.raises(BadResponse, match=method):
        getattr(client, method)(*([{"x": [1]}] if method == "predict" else []))


def test_answers_over_four_mebibytes_arrive(grpc_standin: GrpcStandin):
    def answer(path: str, request: bytes, context: grpc.ServicerContext) -> bytes:
        response = predict_pb2.PredictResponse()
        response.outputs["y"].CopyFrom(predict_pb2.PredictRequest.FromString(request).inputs["x"])
        return response.SerializeToString()

    grpc_standin.answer = answer
    large = np.arange(2_000_000, dtype=np.float32)
    with GrpcClient(grpc_standin.target, model="flowers") as client:
        np.testing.assert_array_equal(client.predict({"x": large})["y"], large)


def test_nobody_there_is_unavailable(closed_port: int):
    with GrpcClient(f"localhost:{closed_port}", model="flowers", timeout=20) as client:
        for ask in (lambda: client.classify([PICTURE]), client.status, client.metadata):
            with pytest.raises(Unavailable, match=f"localhost:{closed_port}"):
                ask()


def test_no_answer_in_time_is_deadline_exceeded(grpc_standin: GrpcStandin):
    released = threading.Event()

    def answer(path: str, request: bytes, context: grpc.ServicerContext) -> bytes:
        released.wait(30)
        return b""

    grpc_standin.answer = answer
    try:
        with (
            GrpcClient(grpc_standin.target, model="flowers", timeout=0.2) as client,
            pytest.raises(DeadlineExceeded, match="classify"),
        ):
            client.classify([PICTURE])
    finally:
        released.set()


def test_waiting_outlasts_a_server_that_is_not_there_yet(closed_port: int):
    with (
        GrpcClient(f"localhost:{closed_port}", model="flowers") as client,
        pytest.raises(DeadlineExceeded, match=r"last seen: .*cannot be reached") as info,
    ):
        client.wait_until_available(timeout=3)
    assert "wait_until_available (3 s) of model 'flowers'" in str(info.value)


def test_waiting_sees_a_server_that_fails_at_first(grpc_standin: GrpcStandin):
    states = iter([None, "LOADING", "AVAILABLE"])

    def answer(path: str, request: bytes, context: grpc.ServicerContext) -> bytes:
        state = next(states)
        if state is None:
            context.abort(grpc.StatusCode.NOT_FOUND, "not there yet")
        response = get_model_status_pb2.GetModelStatusResponse()
        response.model_version_status.add(version=4, state=get_model_status_pb2.ModelVersionStatus.State.Value(state))
        return response.SerializeToString()

    grpc_standin.answer = answer
    with GrpcClient(grpc_standin.target, model="flowers") as client:
        assert client.wait_until_available(timeout=30) == 4


def test_waiting_does_not_hide_a_refusal(grpc_standin: GrpcStandin):
    grpc_standin.abort(grpc.StatusCode.PERMISSION_DENIED, "not for you")
    with GrpcClient(grpc_standin.target, model="flowers") as client, pytest.raises(Exception, match="not for you"):
        client.wait_until_available(timeout=30)


def classified(labels: object, scores: object) -> bytes:
    response = predict_pb2.PredictResponse()
    for name, values in (("labels", labels), ("scores", scores)):
        if values is not None:
            response.outputs[name].CopyFrom(make_tensor_proto(values))
    return response.SerializeToString()
