"""A web server of a few files that can misbehave as those of the real world do."""

from __future__ import annotations

import contextlib
import json
import re
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


class FileServer:
    """Serves `files`; the other attributes say how badly."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.etag: str | None = '"first"'
        self.content_type = "application/octet-stream"
        self.ranges = True
        self.redirects: dict[str, str] = {}
        self.statuses: list[int] = []
        """Of the next answers, in place of the files; 200 for none."""
        self.drops: list[int] = []
        """After how many bytes of their bodies the next answers end, the connection with them."""
        self.length: int | None = None
        """What Content-Length says, if not the truth; -1 for nothing."""
        self.other_part = False
        """Answer a Range with the bytes from 1 on, once."""
        self.hold_after: int | None = None
        self.release = threading.Event()
        """With `hold_after`, bodies stop there until this is set."""
        self.posts: dict[str, Callable[[dict[str, Any]], tuple[str, bytes]]] = {}
        """What answers a POST of JSON, as (content type, body), by the last part of its path."""
        self.requests: list[tuple[str, str | None, str | None]] = []
        """(path, Range, If-Range) of each GET."""
        self.url = ""

    def paths(self) -> list[str]:
        return [path for path, _, _ in self.requests]


@contextmanager
def file_server(context: ssl.SSLContext | None = None) -> Iterator[FileServer]:
    """A FileServer on a free port of 127.0.0.1, by https where there is a `context`."""
    shared = FileServer()

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_POST(self) -> None:
            name = self.path.rpartition("/")[2]
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if name not in shared.posts:
                self.send_error(403)
                return
            content_type, body = shared.posts[name](asked)
            self.send_response(200)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            shared.requests.append((self.path, self.headers["Range"], self.headers["If-Range"]))
            status = shared.statuses.pop(0) if shared.statuses else 200
            if status != 200:
                self.send_error(status)
            elif self.path in shared.redirects:
                self.send_response(302)
                self.send_header("Location", shared.redirects[self.path])
                self.end_headers()
            elif self.path in shared.files:
                self._send(shared.files[self.path])
            else:
                self.send_error(404)

        def _send(self, data: bytes) -> None:
            asked = re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "")
            start = int(asked[1]) if asked and shared.ranges else 0
            if self.headers["If-Range"] not in (None, shared.etag):
                start = 0
            if start and shared.other_part:
                start, shared.other_part = 1, False
            if start >= len(data) > 0:
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(data)}")
                self.end_headers()
                return
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            body = data[start:]
            self.send_header("Content-Type", shared.content_type)
            if shared.length != -1:
                self.send_header("Content-Length", str(len(body) if shared.length is None else shared.length))
            if shared.etag is not None:
                self.send_header("ETag", shared.etag)
            self.end_headers()
            if shared.drops:
                body = body[: shared.drops.pop(0)]
            if shared.hold_after is not None:
                self.wfile.write(body[: shared.hold_after])
                shared.release.wait()
                body = body[shared.hold_after :]
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

        def handle(self) -> None:
            # Where the client was killed: that is what some tests are about.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                super().handle()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    shared.url = f"http{'s' if context else ''}://127.0.0.1:{server.server_port}"
    try:
        yield shared
    finally:
        shared.release.set()
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def kaggle_server(patch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """A FileServer that kagglehub takes for Kaggle; `posts` are its interface."""
    with file_server() as server:
        # The client's own switch makes it speak http to localhost:7777, which the "proxy" answers in its place.
        patch.setenv("KAGGLE_API_ENVIRONMENT", "TEST")
        patch.setenv("HTTP_PROXY", server.url)
        patch.delenv("http_proxy", raising=False)
        patch.setenv("NO_PROXY", "")
        patch.setenv("no_proxy", "")
        yield server
