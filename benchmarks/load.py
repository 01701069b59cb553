"""Load on a server.

Closed loop: as many clients as asked, each sending its next request when it has the answer to the last. Open loop:
requests are sent when they are due, however long the answers take.
"""

from __future__ import annotations

import http.client
import itertools
import random
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import grpc

Send = Callable[[], None]
_PREDICT = "/tensorflow.serving.PredictionService/Predict"


class HttpError(RuntimeError):
    """An answer other than 200."""

    def __init__(self, status: int, content: bytes) -> None:
        super().__init__(f"HTTP {status}: {content[:200]!r}")
        self.status = status


@dataclass
class Load:
    """What running clients have done so far."""

    seconds: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        return len(self.seconds)

    def require_no_errors(self) -> None:
        """A figure of a server that fails requests is worth nothing."""
        if self.errors:
            raise RuntimeError(f"{len(self.errors)} requests failed, such as: {self.errors[0]}")


@contextmanager
def clients(makers: Sequence[Callable[[], Send]]) -> Iterator[Load]:
    """Run one client thread for each maker while the block does; a client that fails goes on."""
    load = Load()
    stop = threading.Event()

    def run(make: Callable[[], Send]) -> None:
        send = make()
        while not stop.is_set():
            started = time.perf_counter()
            try:
                send()
            except Exception as error:
                load.errors.append(f"{type(error).__name__}: {error}")
                continue
            load.seconds.append(time.perf_counter() - started)

    threads = [threading.Thread(target=run, args=[make], daemon=True) for make in makers]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@dataclass(frozen=True)
class Block:
    """A stretch of a closed loop: requests a second, CPU seconds of one, and their latencies in seconds."""

    rate: float
    cpu_seconds: float
    latencies: Sequence[float]


def closed_loop(makers: Sequence[Callable[[], Send]], cpu_clock: Callable[[], float], seconds: float) -> Block:
    """What running clients come to in `seconds`, or longer until two requests are answered; none may fail."""
    with clients(makers) as running:
        time.sleep(min(0.5, seconds))
        count, cpu, began = running.count, cpu_clock(), time.perf_counter()
        while (elapsed := time.perf_counter() - began) < seconds or running.count - count < 2:
            time.sleep(max(0.01, seconds - elapsed))
        answered, elapsed, used = running.count - count, time.perf_counter() - began, cpu_clock() - cpu
        running.require_no_errors()
        return Block(answered / elapsed, used / answered, running.seconds[count : count + answered])


def poisson_arrivals(rate: float, seconds: float, seed: int) -> list[float]:
    """Seconds, from 0, at which requests are due: independent of each other, on average `rate` a second."""
    noise = random.Random(seed)  # noqa: S311 - arrivals are no secret
    moments, moment = [], noise.expovariate(rate)
    while moment < seconds:
        moments.append(moment)
        moment += noise.expovariate(rate)
    return moments


def open_loop(makers: Sequence[Callable[[], Send]], due: Sequence[float]) -> Load:
    """Send a request at each moment of `due`, by whichever client is free; latencies count from when it was due.

    A request that finds all clients waiting is sent late, which its latency says. Each client asks once before, one
    after the other, so that no request pays for a connection.
    """
    load = Load()
    sends = [make() for make in makers]
    for send in sends:
        send()
    moments = iter(due)
    begin = time.perf_counter()

    def run(send: Send) -> None:
        # The next of an iterator over a list is taken by one thread only.
        for moment in moments:
            time.sleep(max(0.0, begin + moment - time.perf_counter()))
            try:
                send()
            except Exception as error:
                load.errors.append(f"{type(error).__name__}: {error}")
                continue
            load.seconds.append(time.perf_counter() - begin - moment)

    threads = [threading.Thread(target=run, args=[send], daemon=True) for send in sends]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return load


def grpc_client(port: int, payloads: Sequence[bytes]) -> Callable[[], Send]:
    """A client with a connection of its own that sends the serialized PredictRequests in turn."""

    def make() -> Send:
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
        channel = grpc.insecure_channel(f"127.0.0.1:{port}", options)
        call = channel.unary_unary(_PREDICT)
        turn = itertools.cycle(payloads)

        def send() -> None:
            call(next(turn), timeout=60)

        return send

    return make


def rest_client(port: int, bodies: Sequence[bytes], path: str = "/v1/models/model:predict") -> Callable[[], Send]:
    """A client with a connection of its own that posts the bodies in turn."""

    def make() -> Send:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        turn = itertools.cycle(bodies)

        def send() -> None:
            connection.request("POST", path, next(turn), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            content = answer.read()
            if answer.status != 200:
                raise HttpError(answer.status, content)

        return send

    return make


class Wire(Protocol):
    """One client's half of a connection, as bytes; `receive` raises RuntimeError for an answer that is a failure."""

    opening: bytes

    def request(self) -> bytes: ...

    def receive(self, data: bytes) -> tuple[bool, bytes]:
        """Whether the answer is whole with `data`, and what to send back at once."""


class RestWire:
    """Posts the same body again and again, on a connection that is kept."""

    opening = b""

    def __init__(self, body: bytes, path: str = "/v1/models/model:predict") -> None:
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        self._request = head.encode() + body
        self._received = b""

    def request(self) -> bytes:
        return self._request

    def receive(self, data: bytes) -> tuple[bool, bytes]:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end:
            return False, b""
        if not head.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(f"{head[:40]!r}: {body[:200]!r}")
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        if length is None or len(body) < int(length[1]):
            return False, b""
        self._received = b""
        return True, b""


class GrpcWire:
    """Sends the same message again and again, by as much of HTTP/2 (RFC 9113, RFC 7541) as that takes.

    A gRPC channel has threads, timers and buffers; a thousand of them would need the cores that the server is on.
    """

    _DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GO_AWAY, _WINDOW = 0, 1, 3, 4, 6, 7, 8
    _END_STREAM, _ACK, _END_HEADERS = 1, 1, 4

    def __init__(self, message: bytes, path: str = _PREDICT) -> None:
        # Room for all answers there will be, so that none waits for more.
        window = self._frame(self._WINDOW, 0, 0, (2**30).to_bytes(4, "big"))
        self.opening = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + self._frame(self._SETTINGS, 0, 0) + window
        fields = [(b"\x04", path), (b"\x01", "localhost"), (b"\x0f\x10", "application/grpc")]
        # POST and http are in the static table; the others are literals, by their names' places there or in full.
        self._head = b"\x83\x86" + b"".join(name + bytes([len(value)]) + value.encode() for name, value in fields)
        self._head += b"\x00\x02te\x08trailers"
        self._message = b"\x00" + len(message).to_bytes(4, "big") + message
        self._stream = -1
        self._received = b""
        self._has_data = False

    def request(self) -> bytes:
        self._stream += 2
        self._has_data = False
        head = self._frame(self._HEADERS, self._END_HEADERS, self._stream, self._head)
        return head + self._frame(self._DATA, self._END_STREAM, self._stream, self._message)

    def receive(self, data: bytes) -> tuple[bool, bytes]:
        self._received += data
        is_whole, reply = False, b""
        while len(self._received) >= 9 + (length := int.from_bytes(self._received[:3], "big")):
            kind, flags = self._received[3], self._received[4]
            payload, self._received = self._received[9 : 9 + length], self._received[9 + length :]
            if kind in (self._SETTINGS, self._PING) and not flags & self._ACK:
                reply += self._frame(kind, self._ACK, 0, payload if kind == self._PING else b"")
            elif kind in (self._RESET, self._GO_AWAY):
                raise RuntimeError(f"the server ended a gRPC call or its connection: {payload[:200]!r}")
            elif kind == self._DATA:
                self._has_data = self._has_data or length > 0
            if kind in (self._DATA, self._HEADERS) and flags & self._END_STREAM:
                # A call that fails ends with a status and no message.
                if not self._has_data:
                    raise RuntimeError(f"a gRPC call failed: {payload[:200]!r}")
                is_whole = True
        return is_whole, reply

    @staticmethod
    def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
        return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload
