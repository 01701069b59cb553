"""An HTTP server round an application of the test's, and clients that send bytes as they are."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple

from processes import DEADLINE_SECONDS

from vitrine_serving.embedded.rest.http import server
from vitrine_serving.embedded.rest.http.messages import Request, Response, json_error
from vitrine_serving.embedded.rest.options import RestOptions


class Echo:
    """Tells what it was asked; `/wait` answers once `go_on` is set; `/large` with 32 MB."""

    def __init__(self) -> None:
        self.waiting = threading.Semaphore(0)
        self.go_on = threading.Event()
        self.answered = 0
        self._lock = threading.Lock()

    def is_urgent(self, request: Request) -> bool:
        return request.target == "/urgent"

    def refuse(self, request: Request) -> Response:
        return json_error(429, f"no room for {request.target}")

    def __call__(self, request: Request) -> Response:
        if request.target == "/wait":
            self.waiting.release()
            assert self.go_on.wait(DEADLINE_SECONDS)
        with self._lock:
            self.answered += 1
        if request.target == "/large":
            return Response(200, bytes(32 * 1024 * 1024))
        told = {"method": request.method, "target": request.target, "bytes": len(request.body)}
        return Response(200, json.dumps(told).encode())

    def wait_for(self, count: int) -> None:
        """Until so many requests to `/wait` are in the application."""
        for _ in range(count):
            assert self.waiting.acquire(timeout=DEADLINE_SECONDS)


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def told(self) -> dict[str, object]:
        return json.loads(self.body)


class RawClient:
    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, timeout=DEADLINE_SECONDS)
        self._file = self.socket.makefile("rb")

    def send(self, data: bytes | str) -> RawClient:
        self.socket.sendall(data.encode() if isinstance(data, str) else data)
        return self

    def answer(self, head: bool = False) -> Answer:
        """The next response; `head` when it answers a HEAD request."""
        status_line = self._file.readline().decode()
        version, status = status_line.split(" ")[:2]
        assert version in ("HTTP/1.0", "HTTP/1.1")
        headers = {}
        while line := self._file.readline().strip().decode():
            name, value = line.split(": ", 1)
            headers[name.lower()] = value
        length = 0 if head else int(headers.get("content-length", 0))
        return Answer(int(status), headers, self._file.read(length))

    def at_end(self) -> bool:
        """Whether the server has closed the connection, which it is to do now."""
        return self._file.read(1) == b""

    def close(self) -> None:
        self._file.close()
        self.socket.close()

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class HttpServer(NamedTuple):
    address: tuple[str, int]
    stop: Callable[[], None]

    def connect(self) -> RawClient:
        return RawClient(self.address)


@contextlib.contextmanager
def http_server(application: server.Application, **options: float) -> Iterator[HttpServer]:
    bound = socket.create_server(("127.0.0.1", 0))
    running = HttpServer(
        bound.getsockname(), server.start(application, bound, RestOptions(**{"drain_seconds": 5.0, **options}))
    )
    try:
        yield running
    finally:
        running.stop()


def get(target: str, *headers: str) -> str:
    return "\r\n".join([f"GET {target} HTTP/1.1", "Host: x", *headers, "", ""])


def post(target: str, body: str, *headers: str) -> str:
    length = f"Content-Length: {len(body)}"
    return "\r\n".join([f"POST {target} HTTP/1.1", "Host: x", length, *headers, "", body])
