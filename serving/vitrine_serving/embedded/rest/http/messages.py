"""HTTP requests and responses as values, and responses as the bytes that TensorFlow Serving's libevent sends."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Mapping
from email.utils import formatdate
from typing import NamedTuple

JSON = "application/json"
# libevent's default, which an answer without a type of its own gets.
HTML_DEFAULT = "text/html; charset=ISO-8859-1"


class Request(NamedTuple):
    """One whole request. Header names are in lower case; of a repeated header the first value counts."""

    method: str
    target: str
    headers: Mapping[bytes, bytes]
    body: bytes
    # HTTP/1.0, and not 1.1.
    old_http: bool
    keep_alive: bool
    peer: str
    # time.monotonic() when its last byte was read.
    arrived: float


class Response(NamedTuple):
    status: int
    body: bytes = b""
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()
    # Ends the connection, whatever the client wishes.
    close: bool = False


def error_page(status: int) -> Response:
    """The page libevent answers with what never reaches TensorFlow Serving's REST handler."""
    phrase = _phrase(status)
    page = f"<HTML><HEAD>\n<TITLE>{status} {phrase}</TITLE>\n</HEAD><BODY>\n<H1>{phrase}</H1>\n</BODY></HTML>\n"
    return Response(status, page.encode(), "text/html", close=True)


def json_error(status: int, message: str, *headers: tuple[str, str], close: bool = False) -> Response:
    return Response(status, json.dumps({"error": message}).encode(), JSON, headers, close)


def encode_head(response: Response, keep_alive: bool, old_http: bool = False) -> bytes:
    """The status line and the headers of `response`, the empty line after them included."""
    status, body, content_type, headers, _ = response
    head = _head_start(status, content_type, keep_alive, old_http)
    if headers:
        head += "".join(f"{name}: {value}\r\n" for name, value in headers).encode("latin-1", "replace")
    return b"%bDate: %b\r\nContent-Length: %d\r\n\r\n" % (head, _date(), len(body))


@functools.lru_cache(maxsize=256)
def _head_start(status: int, content_type: str, keep_alive: bool, old_http: bool) -> bytes:
    version = "1.0" if old_http else "1.1"
    head = f"HTTP/{version} {status} {_phrase(status)}\r\nContent-Type: {content_type}\r\n"
    if not keep_alive:
        head += "Connection: close\r\n"
    elif old_http:
        head += "Connection: keep-alive\r\n"
    return head.encode("ascii")


_PHRASES = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    408: "Request Time-out",
    409: "Conflict",
    413: "Request Entity Too Large",
    417: "Expectation Failed",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    504: "Gateway Time-out",
}


def _phrase(status: int) -> str:
    """As libevent has it, which knows no phrase for 429, 431 and 499."""
    return _PHRASES.get(status, "Client Error" if status < 500 else "Server Error")


_date_cache = (0, b"")


def _date() -> bytes:
    global _date_cache
    now = int(time.time())
    second, text = _date_cache
    if second != now:
        text = formatdate(now, usegmt=True).encode()
        _date_cache = (now, text)
    return text
