"""Every status of both transports is one of our errors, and its message says what a user needs."""

from __future__ import annotations

import http
import json
import pickle

import grpc
import pytest
from client_standins import PICTURE, GrpcStandin, RestStandin

from vitrine_client import (
    BadResponse,
    DeadlineExceeded,
    GrpcClient,
    InvalidInput,
    ModelNotFound,
    Overloaded,
    RestClient,
    ServerError,
    Unavailable,
    VitrineError,
)

GRPC_ERRORS = {
    "CANCELLED": Unavailable,
    "UNKNOWN": ServerError,
    "INVALID_ARGUMENT": InvalidInput,
    "DEADLINE_EXCEEDED": DeadlineExceeded,
    "NOT_FOUND": ModelNotFound,
    "ALREADY_EXISTS": ServerError,
    "PERMISSION_DENIED": ServerError,
    "UNAUTHENTICATED": ServerError,
    "RESOURCE_EXHAUSTED": Overloaded,
    "FAILED_PRECONDITION": ServerError,
    "ABORTED": ServerError,
    "UNIMPLEMENTED": ServerError,
    "OUT_OF_RANGE": InvalidInput,
    "INTERNAL": ServerError,
    "UNAVAILABLE": Unavailable,
    "DATA_LOSS": ServerError,
}
# The statuses that TensorFlow Serving gives (http_server.cc), and those of proxies.
HTTP_ERRORS = {
    307: BadResponse,
    400: InvalidInput,
    401: ServerError,
    403: ServerError,
    404: ModelNotFound,
    408: DeadlineExceeded,
    409: ServerError,
    413: InvalidInput,
    429: Overloaded,
    499: Unavailable,
    500: ServerError,
    501: ServerError,
    502: Unavailable,
    503: Unavailable,
    504: DeadlineExceeded,
}


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_every_grpc_status_is_an_error_of_ours(grpc_standin: GrpcStandin, code: grpc.StatusCode):
    grpc_standin.abort(code, "the server's words")
    with (
        GrpcClient(grpc_standin.target, model="flowers", version=3) as client,
        pytest.raises(VitrineError) as info,
    ):
        client.classify([PICTURE])
    assert type(info.value) is GRPC_ERRORS[code.name]
    assert_tells(info.value, "classify", grpc_standin.target)


@pytest.mark.parametrize("status", sorted({*HTTP_ERRORS, *(s.value for s in http.HTTPStatus if s.value >= 300)}))
def test_every_http_status_is_an_error_of_ours(rest_standin: RestStandin, status: int):
    rest_standin.status = status
    rest_standin.body = b"" if status == 304 else json.dumps({"error": "the server's words"}).encode()
    with (
        RestClient(rest_standin.address, model="flowers", version=3) as client,
        pytest.raises(VitrineError) as info,
    ):
        client.classify([PICTURE])
    assert type(info.value) is not VitrineError
    if status in HTTP_ERRORS:
        assert type(info.value) is HTTP_ERRORS[status]
        assert_tells(info.value, "classify", rest_standin.address)


@pytest.mark.parametrize("method", ["status", "metadata"])
def test_errors_name_the_method_asked(grpc_standin: GrpcStandin, rest_standin: RestStandin, method: str):
    grpc_standin.abort(grpc.StatusCode.INTERNAL, "the server's words")
    rest_standin.status, rest_standin.body = 500, b'{"error": "the server\'s words"}'
    for client, address in (
        (GrpcClient(grpc_standin.target, model="flowers", version=3), grpc_standin.target),
        (RestClient(rest_standin.address, model="flowers", version=3), rest_standin.address),
    ):
        with client, pytest.raises(ServerError) as info:
            getattr(client, method)()
        assert_tells(info.value, method, address)


@pytest.mark.parametrize(
    "words",
    ['Serving signature key "x" not found.', 'Serving signature name: "x" not found in signature def'],
)
def test_a_wrong_signature_is_invalid_input_in_any_wording(grpc_standin: GrpcStandin, words: str):
    grpc_standin.abort(grpc.StatusCode.FAILED_PRECONDITION, words)
    with GrpcClient(grpc_standin.target, model="flowers") as client, pytest.raises(InvalidInput) as info:
        client.classify([PICTURE], signature_name="x")
    assert info.value.server_message == words


def test_errors_survive_a_process_boundary():
    error = ModelNotFound("message", "the server's words")
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert (type(copy), str(copy), copy.server_message) == (ModelNotFound, "message", "the server's words")


@pytest.mark.parametrize(
    ("client", "arguments", "reason"),
    [
        (GrpcClient, {"target": "http://localhost:8500"}, "host:port"),
        (GrpcClient, {"target": ""}, "host:port"),
        (GrpcClient, {"target": "localhost:8500", "model": ""}, "model=''"),
        (GrpcClient, {"target": "localhost:8500", "version": -1}, "version=-1"),
        (GrpcClient, {"target": "localhost:8500", "version": "3"}, "version='3'"),
        (GrpcClient, {"target": "localhost:8500", "timeout": 0}, "timeout=0"),
        (RestClient, {"url": "ftp://localhost"}, "ftp"),
        (RestClient, {"url": ""}, "http://localhost:8501"),
        (RestClient, {"url": "localhost:port"}, "localhost:port"),
        (RestClient, {"url": "http://localhost:8501?a=b"}, "a=b"),
        (RestClient, {"url": "localhost:8501", "timeout": float("nan")}, "timeout=nan"),
    ],
)
def test_arguments_that_cannot_be_used_are_named(client: type, arguments: dict, reason: str):
    with pytest.raises(InvalidInput, match=reason):
        client(**{"model": "flowers", **arguments})


@pytest.mark.parametrize("inputs", [{}, [b"picture"], None])
def test_inputs_without_names_are_refused(grpc_standin: GrpcStandin, inputs: object):
    with GrpcClient(grpc_standin.target, model="flowers") as client, pytest.raises(InvalidInput, match="by input name"):
        client.predict(inputs)


def assert_tells(error: VitrineError, method: str, address: str) -> None:
    assert error.server_message == "the server's words"
    for part in (method, "'flowers'", "version 3", address, "the server's words"):
        assert part in str(error)
