"""Request bodies that come compressed."""

from __future__ import annotations

import zlib

from vitrine_serving.embedded.rest.http.messages import Request

# TensorFlow Serving's own bound: what inflates to more counts as broken.
_MAX_INFLATED_BYTES = 100 * 1024 * 1024
_GZIP = 16 + zlib.MAX_WBITS
_SHORTEST_GZIP = 18


class BodyTooLargeError(Exception):
    """The body inflates to more than this server takes."""


def decoded_body(request: Request, max_bytes: int) -> bytes:
    """The body as the client meant it; raises BodyTooLargeError above `max_bytes` (0: no limit).

    A body that cannot be inflated is an empty one, as in TensorFlow Serving.
    """
    body = request.body
    if not body or b"gzip" not in request.headers.get(b"content-encoding", b""):
        return body
    if len(body) < _SHORTEST_GZIP:
        return b""
    # A gzip stream ends with its inflated length. No more than that is ever made, whoever lies.
    inflated_bytes = int.from_bytes(body[-4:], "little")
    if inflated_bytes > _MAX_INFLATED_BYTES:
        return b""
    if max_bytes and inflated_bytes > max_bytes:
        raise BodyTooLargeError(f"The request's body inflates to over {max_bytes} bytes")
    inflater = zlib.decompressobj(_GZIP)
    try:
        # One more than expected: zlib looks at the trailer only when asked for something behind the end.
        inflated = inflater.decompress(body, inflated_bytes + 1)
    except zlib.error:
        return b""
    return inflated if inflater.eof and len(inflated) == inflated_bytes and not inflater.unused_data else b""
