"""A stand-in for a model server, which answers what a test gives it and keeps what it was asked."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Standin:
    def __init__(self) -> None:
        self.target = ""
        self.asked: list[tuple[str, str]] = []
        """Method and path of each request, as they were sent."""
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.answers: dict[str, Any] = {}
        """What is answered, as JSON, by the end of the path; status 404 for other paths."""
        self.held: dict[str, threading.Event] = {}
        """Answers that wait for an event first, by the end of the path."""


def versions(*numbers: int) -> dict[str, Any]:
    """A status with these versions AVAILABLE."""
    status = {"error_code": "OK", "error_message": ""}
    return {"model_version_status": [{"version": str(n), "state": "AVAILABLE", "status": status} for n in numbers]}


def prediction(*labels: str) -> dict[str, Any]:
    """The labels with falling scores."""
    return {"predictions": [{"labels": labels, "scores": [1 / 2 ** (n + 1) for n in range(len(labels))]}]}


@contextlib.contextmanager
def running_standin(address: str = "127.0.0.1", port: int = 0) -> Iterator[Standin]:
    standin = Standin()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            standin.asked.append((self.command, self.path))
            standin.bodies.append(body)
            standin.headers.append({name.lower(): value for name, value in self.headers.items()})
            for end, event in list(standin.held.items()):
                if self.path.endswith(end):
                    event.wait()
            found = [answer for end, answer in standin.answers.items() if self.path.endswith(end)]
            text = json.dumps(found[0] if found else {"error": "Could not find any versions of model"}).encode()
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self.send_response(200 if found else 404)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

        do_GET = do_POST = answer

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer((address, port), Handler)
    server.daemon_threads = True
    standin.target = f"{address}:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield standin
    finally:
        for event in standin.held.values():
            event.set()
        server.shutdown()
        thread.join()
        server.server_close()
