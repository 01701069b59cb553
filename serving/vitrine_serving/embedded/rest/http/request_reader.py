"""Bytes of one connection to HTTP requests, by llhttp."""

from __future__ import annotations

import io
import time
from collections import deque

import httptools

from vitrine_serving.embedded.rest.http.messages import Request, Response, error_page, json_error

# The methods TensorFlow Serving lets through to its handlers.
_METHODS = {name.encode(): name for name in ("GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH")}


class RequestReader:
    """Collects requests in `requests` until one must be refused, which is for good: `refusal` is its answer."""

    # Of the request that is being read.
    _url: bytes
    _headers: dict[bytes, bytes]
    _in_body: bool
    _body_bytes: int
    # The body's only piece so far, or the buffer it went to when more came.
    _body: bytes
    _pieces: io.BytesIO | None

    def __init__(self, peer: str, max_header_bytes: int, max_body_bytes: int) -> None:
        self.requests: deque[Request] = deque()
        self.refusal: Response | None = None
        # time.monotonic() at the first byte of a request that is not whole yet.
        self.begun: float | None = None
        # The client waits for a word before it sends the body.
        self.expects_continue = False
        self._peer = peer
        self._max_header_bytes = max_header_bytes
        self._max_body_bytes = max_body_bytes
        self._parser = httptools.HttpRequestParser(self)
        # Bytes since anything but header was read, for headers that never end.
        self._bare_bytes = 0
        self._begin()

    def feed(self, data: memoryview) -> None:
        if self.refusal is not None:
            return
        self._bare_bytes += len(data)
        try:
            self._parse(data)
        except httptools.HttpParserInvalidMethodError:
            self._refuse(error_page(501))
        except httptools.HttpParserError:
            self._refuse(error_page(400))
        if self._bare_bytes > self._max_header_bytes:
            self._refuse(self._header_too_large())

    def release(self) -> None:
        """Nothing is fed any more: break the cycle with the parser, which calls back."""
        del self._parser

    def on_message_begin(self) -> None:
        self.begun = time.monotonic()

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        # What comes after a chunked body must not change how the body was to be read.
        if not self._in_body:
            self._headers.setdefault(name.lower(), value)

    def on_headers_complete(self) -> None:
        self._in_body = True
        # Only what came in large can have had a large header.
        if self._bare_bytes > self._max_header_bytes and self._header_bytes() > self._max_header_bytes:
            self._stop(self._header_too_large())
        if self._parser.get_method() not in _METHODS:
            self._stop(error_page(501))
        if self._max_body_bytes and int(self._headers.get(b"content-length", 0)) > self._max_body_bytes:
            self._stop(self._body_too_large())
        if b"expect" in self._headers:
            if self._headers[b"expect"].lower() != b"100-continue":
                self._stop(error_page(417))
            self.expects_continue = self._parser.get_http_version() != "1.0"

    def on_body(self, piece: bytes) -> None:
        self._bare_bytes = 0
        self.expects_continue = False
        self._body_bytes += len(piece)
        if self._max_body_bytes and self._body_bytes > self._max_body_bytes:
            self._stop(self._body_too_large())
        if self._pieces is not None:
            self._pieces.write(piece)
        elif self._body:
            self._pieces = io.BytesIO()
            self._pieces.write(self._body)
            self._pieces.write(piece)
            self._body = b""
        else:
            self._body = piece

    def on_message_complete(self) -> None:
        self._bare_bytes = 0
        self.begun = None
        self.expects_continue = False
        parser = self._parser
        keep_alive = parser.should_keep_alive()
        self.requests.append(
            Request(
                _METHODS[parser.get_method()],
                self._url.decode("latin-1"),
                self._headers,
                self._body if self._pieces is None else self._pieces.getvalue(),
                # Without a Connection header, to keep it alive takes HTTP/1.1.
                (not keep_alive or b"connection" in self._headers) and parser.get_http_version() == "1.0",
                keep_alive,
                self._peer,
                time.monotonic(),
            )
        )
        self._begin()

    def _parse(self, data: memoryview) -> None:
        while True:
            try:
                self._parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                data = data[upgrade.args[0] :]
            # No other protocol is spoken here: the client goes on in HTTP/1.1, but llhttp forgot its body.
            if self.requests and _announces_body(self.requests[-1]):
                self._parser = httptools.HttpRequestParser(self)
                self._parser.feed_data(_head_without_upgrade(self.requests.pop()))

    def _begin(self) -> None:
        self._url = b""
        self._headers = {}
        self._in_body = False
        self._body_bytes = 0
        self._body = b""
        self._pieces = None

    def _header_bytes(self) -> int:
        return len(self._url) + sum(len(name) + len(value) for name, value in self._headers.items())

    def _refuse(self, answer: Response) -> None:
        if self.refusal is None:
            self.refusal = answer

    def _stop(self, answer: Response) -> None:
        self._refuse(answer)
        raise ValueError(answer.status)

    def _header_too_large(self) -> Response:
        return json_error(431, f"The request's header is over {self._max_header_bytes} bytes", close=True)

    def _body_too_large(self) -> Response:
        return json_error(413, f"The request's body is over {self._max_body_bytes} bytes", close=True)


def _announces_body(request: Request) -> bool:
    return b"transfer-encoding" in request.headers or int(request.headers.get(b"content-length", 0)) > 0


def _head_without_upgrade(request: Request) -> bytes:
    lines = [f"{request.method} {request.target} HTTP/1.{0 if request.old_http else 1}".encode("latin-1")]
    lines += [name + b": " + value for name, value in request.headers.items() if name != b"upgrade"]
    return b"\r\n".join([*lines, b"", b""])
