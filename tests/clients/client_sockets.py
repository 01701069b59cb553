"""An HTTP server that answers each request as a test writes it, byte by byte if need be."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from types import TracebackType

Answer = Callable[[int, socket.socket], None]


class SocketServer:
    """Calls `answer(number, connection)` for each request, counted from 1, and then closes the connection.

    Args:
        unread_seconds: how long nothing of a request is read, so that a large one cannot be sent.

    Attributes:
        requests: each as it came, head and body.
        ended: set when the test is over; what waits for something else waits for this, too.
    """

    def __init__(self, answer: Answer, unread_seconds: float = 0.0) -> None:
        self.requests: list[bytes] = []
        self.ended = threading.Event()
        self._answer = answer
        self._unread_seconds = unread_seconds
        self._lock = threading.Lock()
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self._socket.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self._threads = [threading.Thread(target=self._accept)]

    def _accept(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            if self.ended.is_set():
                connection.close()
                return
            self._threads.append(threading.Thread(target=self._serve, args=(connection,)))
            self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        # A client that hangs up is what many of the tests are about.
        with connection, contextlib.suppress(OSError):
            self.ended.wait(self._unread_seconds)
            if request := read_request(connection):
                with self._lock:
                    self.requests.append(request)
                    number = len(self.requests)
                self._answer(number, connection)

    def __enter__(self) -> SocketServer:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ended.set()
        socket.create_connection(("127.0.0.1", self.port)).close()
        for thread in self._threads:
            thread.join()
        self._socket.close()


def read_request(connection: socket.socket) -> bytes:
    """Head and body; b"" where the client hangs up before."""
    with connection.makefile("rb") as file:
        lines = []
        while (line := file.readline()).strip():
            lines.append(line)
        length = next((int(line.split(b":")[1]) for line in lines if line.lower().startswith(b"content-length:")), 0)
        return b"".join(lines) + line + file.read(length)


def reply(status: int, body: bytes = b"{}", *headers: str) -> bytes:
    """An answer's bytes."""
    head = [f"HTTP/1.1 {status} Something", *headers, f"Content-Length: {len(body)}", "Connection: close"]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def reset(connection: socket.socket) -> None:
    """Hangs up without ado: the client gets a connection reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
