"""What is asked again and what is not, as the servers count it."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable

import grpc
import numpy as np
import pytest
from client_processes import ask
from client_sockets import SocketServer, reply, reset
from client_standins import GrpcStandin
from processes import DEADLINE_SECONDS

from vitrine_client import (
    AsyncGrpcClient,
    DeadlineExceeded,
    GrpcClient,
    ModelConfig,
    Overloaded,
    RestClient,
    Unavailable,
    VitrineError,
)

STATUS = b'{"model_version_status": []}'
GRPC_CLIENTS = pytest.mark.parametrize("kind", [GrpcClient, AsyncGrpcClient])
CONFIG = [ModelConfig("flowers", "/models/flowers")]
# Requests of this size are more than gRPC keeps for another attempt by itself.
LARGE = np.zeros(1 << 18, np.float32)


class Refusals:
    """Answers gRPC calls with a status, at first or always, and counts them."""

    def __init__(self, standin: GrpcStandin, code: grpc.StatusCode, times: int = 1000) -> None:
        self.attempts = 0
        self._code, self._times = code, times
        standin.answer = self._answer

    def _answer(self, path: str, request: bytes, context: grpc.ServicerContext) -> bytes:
        self.attempts += 1
        if self.attempts <= self._times:
            context.abort(self._code, "refused")
        return b""


@GRPC_CLIENTS
@pytest.mark.parametrize("rows", [LARGE[:1], LARGE], ids=["small", "large"])
@pytest.mark.parametrize("code", ["UNAVAILABLE", "RESOURCE_EXHAUSTED", "CANCELLED"])
def test_a_server_that_cannot_now_is_asked_again(
    grpc_standin: GrpcStandin, kind: Callable[..., GrpcClient], code: str, rows: np.ndarray
):
    refusals = Refusals(grpc_standin, grpc.StatusCode[code], times=2)
    assert ask(kind(grpc_standin.target, model="flowers"), "predict", {"x": rows}) == {}
    assert refusals.attempts == 3


@GRPC_CLIENTS
@pytest.mark.parametrize(
    "code", ["INVALID_ARGUMENT", "INTERNAL", "DEADLINE_EXCEEDED", "UNKNOWN", "ABORTED", "PERMISSION_DENIED"]
)
def test_what_would_fail_again_is_asked_once(grpc_standin: GrpcStandin, kind: Callable[..., GrpcClient], code: str):
    refusals = Refusals(grpc_standin, grpc.StatusCode[code])
    with pytest.raises(VitrineError, match="refused"):
        ask(kind(grpc_standin.target, model="flowers"), "predict", {"x": [1.0]})
    assert refusals.attempts == 1


@GRPC_CLIENTS
@pytest.mark.parametrize("retries", [0, 1, 2])
def test_no_more_attempts_are_made_than_allowed(
    grpc_standin: GrpcStandin, kind: Callable[..., GrpcClient], retries: int
):
    refusals = Refusals(grpc_standin, grpc.StatusCode.UNAVAILABLE)
    with pytest.raises(Unavailable, match="refused"):
        ask(kind(grpc_standin.target, model="flowers", retries=retries), "predict", {"x": [1.0]})
    assert refusals.attempts == retries + 1


@GRPC_CLIENTS
def test_a_reload_is_asked_once(grpc_standin: GrpcStandin, kind: Callable[..., GrpcClient]):
    refusals = Refusals(grpc_standin, grpc.StatusCode.UNAVAILABLE)
    with pytest.raises(Unavailable, match="refused"):
        ask(kind(grpc_standin.target, model="flowers"), "reload_config", CONFIG)
    assert refusals.attempts == 1


@GRPC_CLIENTS
def test_retries_end_with_the_deadline(grpc_standin: GrpcStandin, kind: Callable[..., GrpcClient]):
    refusals = Refusals(grpc_standin, grpc.StatusCode.UNAVAILABLE)
    with pytest.raises((Unavailable, DeadlineExceeded)):
        ask(kind(grpc_standin.target, model="flowers", retries=4, timeout=0.2), "predict", {"x": [1.0]})
    # The pauses before the fifth are longer than that.
    assert refusals.attempts < 5


@pytest.mark.parametrize("status", [429, 502, 503])
def test_rest_servers_that_cannot_now_are_asked_again(status: int):
    def answer(number: int, connection: socket.socket) -> None:
        connection.sendall(reply(200, STATUS) if number == 3 else reply(status, b"busy"))

    with SocketServer(answer) as server, RestClient(server.address, model="flowers") as client:
        assert client.status().versions == ()
    assert len(server.requests) == 3


@pytest.mark.parametrize("status", [400, 401, 404, 408, 500, 504])
def test_rest_requests_that_would_fail_again_are_made_once(status: int):
    with (
        SocketServer(lambda number, connection: connection.sendall(reply(status, b"no"))) as server,
        RestClient(server.address, model="flowers") as client,
        pytest.raises(VitrineError, match="no"),
    ):
        client.predict({"x": [1.0]})
    assert len(server.requests) == 1


@pytest.mark.parametrize("retries", [0, 2, 4])
def test_no_more_rest_requests_are_made_than_allowed(retries: int):
    with (
        SocketServer(lambda number, connection: connection.sendall(reply(429, b'{"error": "busy"}'))) as server,
        RestClient(server.address, model="flowers", retries=retries) as client,
        pytest.raises(Overloaded, match="busy"),
    ):
        client.predict({"x": [1.0]})
    assert len(server.requests) == retries + 1


@pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 2", reply(200, b"{" * 20)[:-10]], ids=["none", "head", "body"])
@pytest.mark.parametrize("hang_up", [reset, socket.socket.close], ids=["reset", "closed"])
def test_a_connection_lost_before_the_whole_answer_is_made_again(
    begun: bytes, hang_up: Callable[[socket.socket], None]
):
    def answer(number: int, connection: socket.socket) -> None:
        if number < 3:
            connection.sendall(begun)
            hang_up(connection)
        else:
            connection.sendall(reply(200, STATUS))

    with SocketServer(answer) as server, RestClient(server.address, model="flowers") as client:
        assert client.status().versions == ()
    assert len(server.requests) == 3


def test_a_connection_lost_again_and_again_is_unavailable():
    with (
        SocketServer(lambda number, connection: reset(connection)) as server,
        RestClient(server.address, model="flowers", retries=2) as client,
        pytest.raises(Unavailable),
    ):
        client.status()
    assert len(server.requests) == 3


def test_a_rest_server_says_when_to_come_back():
    def answer(number: int, connection: socket.socket) -> None:
        times.append(time.monotonic())
        connection.sendall(reply(429, b"busy", "Retry-After: 1") if number == 1 else reply(200, STATUS))

    times: list[float] = []
    with SocketServer(answer) as server, RestClient(server.address, model="flowers") as client:
        client.status()
    assert times[1] - times[0] >= 1


def test_a_rest_server_that_wants_to_be_asked_after_the_deadline_is_not():
    with (
        SocketServer(lambda n, connection: connection.sendall(reply(503, b"busy", "Retry-After: 3600"))) as server,
        RestClient(server.address, model="flowers", timeout=DEADLINE_SECONDS) as client,
        pytest.raises(Unavailable, match="busy"),
    ):
        client.status()
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("value", "requests"), [("soon", 2), ("-1", 2), ("1e3", 2), ("\xff", 2), ("99999999999999999999", 1)]
)
def test_a_time_to_come_back_that_makes_no_sense_is_passed_over(value: str, requests: int):
    def answer(number: int, connection: socket.socket) -> None:
        connection.sendall(reply(503, b"busy", f"Retry-After: {value}") if number == 1 else reply(200, STATUS))

    with (
        SocketServer(answer) as server,
        RestClient(server.address, model="flowers", timeout=DEADLINE_SECONDS) as client,
        # A number is a time, however large, and this one is after the deadline.
        pytest.raises(Unavailable, match="busy") if requests == 1 else contextlib.nullcontext(),
    ):
        assert client.status().versions == ()
    assert len(server.requests) == requests


def test_a_connection_that_comes_of_age_costs_no_request_even_without_retries():
    """As servers end them in Kubernetes, so that clients find new pods: the request on its way goes by the next one."""
    ages = ("grpc.max_connection_age_ms", 30), ("grpc.max_connection_age_grace_ms", 30_000)
    with GrpcStandin(*ages) as server, GrpcClient(server.target, model="flowers", retries=0) as client:
        for _ in range(4000):
            client.status()
