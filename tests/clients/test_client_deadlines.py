"""One deadline for a whole call, whatever the server does meanwhile."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import pytest
from client_processes import ask
from client_sockets import SocketServer, reply
from client_standins import GrpcStandin
from processes import DEADLINE_SECONDS

from vitrine_client import (
    AsyncGrpcClient,
    DeadlineExceeded,
    GrpcClient,
    InvalidInput,
    RestClient,
    Unavailable,
    http,
)

TIMEOUT = 0.4
# How late a busy machine may be; the servers here would take for ever.
LATEST = 10.0
KINDS = pytest.mark.parametrize("kind", [GrpcClient, AsyncGrpcClient, RestClient])
# More than fits between a client and a server that does not read.
LARGE = b"x" * 30_000_000
HEAD = b"HTTP/1.1 200 OK\r\n"


Behaviour = Callable[[socket.socket, threading.Event], None]


def drip(endless: bytes, *first: bytes) -> Behaviour:
    """Sends `first` and then, for ever, these bytes one by one: each of them early enough by itself."""

    def behave(connection: socket.socket, ended: threading.Event) -> None:
        connection.sendall(b"".join(first))
        for byte in itertools.cycle(endless):
            if ended.wait(0.02):
                return
            connection.sendall(bytes([byte]))

    return behave


def stall(*first: bytes) -> Behaviour:
    """Sends `first`, and then nothing."""

    def behave(connection: socket.socket, ended: threading.Event) -> None:
        connection.sendall(b"".join(first))
        ended.wait()

    return behave


@pytest.mark.parametrize(
    "behaviour",
    [
        stall(),
        stall(HEAD),
        stall(HEAD, b"Content-Length: 100\r\n\r\n"),
        stall(HEAD, b"Content-Length: 100\r\n\r\n", b"x" * 50),
        stall(HEAD, b"Transfer-Encoding: chunked\r\n\r\n", b"4\r\nfour\r\n"),
        stall(HEAD, b"\r\n", b"x" * 50),
        drip(b" ", HEAD, b"Content-Length: 1000000\r\n\r\n"),
        drip(b" ", HEAD, b"\r\n"),
        drip(b"1\r\n \r\n", HEAD, b"Transfer-Encoding: chunked\r\n\r\n"),
        drip(b"0", HEAD, b"Transfer-Encoding: chunked\r\n\r\n"),
        drip(b"X-Header: x\r\n", HEAD),
        drip(b"x", HEAD, b"X-Header: "),
        drip(b"x", b"HTTP/1.1 200 "),
        drip(b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
    ids=[
        *("silence", "half a head", "no body", "half a body", "half the chunks", "a body without end"),
        *("a dripping body", "a dripping body of no length", "dripping chunks", "a dripping length"),
        *("dripping headers", "a dripping header", "a dripping status", "dripping informational answers"),
    ],
)
def test_rest_answers_that_never_end_are_given_up_at_the_deadline(behaviour: Behaviour):
    with (
        SocketServer(lambda number, connection: behaviour(connection, server.ended)) as server,
        RestClient(server.address, model="flowers", timeout=TIMEOUT) as client,
    ):
        begin = time.monotonic()
        with pytest.raises(DeadlineExceeded, match=r"0\.4 s"):
            client.status()
        assert TIMEOUT * 0.9 < time.monotonic() - begin < LATEST
    assert len(server.requests) == 1


@KINDS
def test_a_split_call_has_one_deadline_over_all_its_parts(grpc_standin: GrpcStandin, kind: Callable[..., Any]):
    # Each part is in time by itself; there are four at once and so three rounds of them.
    over = threading.Event()

    def answer(number: int, connection: socket.socket) -> None:
        over.wait(0.6 * TIMEOUT)
        connection.sendall(reply(200, b'{"outputs": {"x": [1]}}'))

    def answer_grpc(path: str, request: bytes, context: grpc.ServicerContext) -> bytes:
        over.wait(0.6 * TIMEOUT)
        return b""

    grpc_standin.answer = answer_grpc
    with SocketServer(answer) as server:
        address = server.address if kind is RestClient else grpc_standin.target
        client = kind(address, model="flowers", timeout=TIMEOUT, max_batch_size=1)
        begin = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            ask(client, "predict", {"x": np.arange(12)})
        assert TIMEOUT * 0.9 < time.monotonic() - begin < LATEST
        over.set()


def test_parts_whose_turn_has_not_come_by_the_deadline_are_never_sent(grpc_standin: GrpcStandin):
    over = threading.Event()
    counted: list[int] = []

    def answer(path: str, request: bytes, context: grpc.ServicerContext) -> bytes:
        counted.append(1)
        over.wait(DEADLINE_SECONDS)
        return b""

    grpc_standin.answer = answer
    with GrpcClient(grpc_standin.target, model="flowers", max_batch_size=1, timeout=0.5) as client:
        with pytest.raises(DeadlineExceeded):
            client.predict({"x": np.arange(25)})
        over.set()
    assert len(counted) < 25


@KINDS
def test_a_call_has_a_deadline_of_its_own(grpc_standin: GrpcStandin, kind: Callable[..., Any]):
    over = threading.Event()

    def answer_grpc(path: str, request: bytes, context: grpc.ServicerContext) -> bytes:
        over.wait(DEADLINE_SECONDS)
        return b""

    grpc_standin.answer = answer_grpc
    with SocketServer(lambda number, connection: stall()(connection, over)) as server:
        address = server.address if kind is RestClient else grpc_standin.target
        with pytest.raises(DeadlineExceeded, match="status"):
            ask(kind(address, model="flowers", timeout=DEADLINE_SECONDS), "status", timeout=0.2)
        over.set()


def test_a_server_that_reads_no_more_of_a_request_is_given_up_at_the_deadline():
    with (
        SocketServer(refuse, unread_seconds=DEADLINE_SECONDS) as server,
        RestClient(server.address, model="flowers", timeout=TIMEOUT) as client,
    ):
        begin = time.monotonic()
        with pytest.raises((DeadlineExceeded, Unavailable)):
            client.predict({"x": np.array([LARGE], object)})
        assert TIMEOUT * 0.9 < time.monotonic() - begin < LATEST


def test_sending_to_one_of_several_servers_may_take_longer_than_connecting(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(http, "_CONNECT_SECONDS", 0.2)
    with (
        SocketServer(refuse, unread_seconds=1.0) as server,
        RestClient([server.address] * 2, model="flowers", timeout=DEADLINE_SECONDS, retries=0) as client,
        pytest.raises(InvalidInput, match="refused"),
    ):
        client.predict({"x": np.array([LARGE], object)})
    assert len(server.requests) == 1
    assert len(server.requests[0]) > len(LARGE)


def refuse(number: int, connection: socket.socket) -> None:
    connection.sendall(reply(400, b'{"error": "refused"}'))
