"""JSON strings and `{"b64": ...}` objects to bytes."""

from __future__ import annotations

import binascii
import re
from typing import Any

import pybase64

from vitrine_serving.embedded.errors import invalid_argument
from vitrine_serving.embedded.rest.codec.parser import RepeatedMembers

_SPACES = re.compile(r"[\t-\r ]+")


def is_base64_object(value: Any) -> bool:
    """Whether `value` is an object of one string member, `b64`."""
    return (
        isinstance(value, dict)
        and len(value) == 1
        and isinstance(value.get("b64"), str)
        and not isinstance(value, RepeatedMembers)
    )


def to_bytes(value: Any) -> bytes:
    """The bytes of a string or base64 object; raises ServingError INVALID_ARGUMENT for bad base64."""
    if isinstance(value, str):
        return _text_bytes(value)
    text = value["b64"]
    data = _decode_base64(text)
    if data is None:
        data = _decode_base64(_SPACES.sub("", text))
    if data is None:
        raise invalid_argument("Unable to base64 decode")
    return data


def _text_bytes(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        if any("\ud800" <= character <= "\udbff" for character in text):
            raise invalid_argument("JSON Parse error: The surrogate pair in string is invalid.") from None
        return text.encode("utf-8", "surrogatepass")


def _decode_base64(text: str) -> bytes | None:
    # Padding is `=` or `.` and may be left out, but not be there in part.
    digits = text.rstrip("=.")
    missing = -len(digits) % 4
    if missing == 3 or len(text) - len(digits) not in (0, missing):
        return None
    try:
        # Thirty times as fast as Python's own, which lets no other thread run meanwhile.
        return pybase64.b64decode(digits + "=" * missing, validate=True)
    except (binascii.Error, ValueError):
        return None
