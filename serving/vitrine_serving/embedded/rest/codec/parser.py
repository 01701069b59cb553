"""Request bodies to JSON documents, with what TensorFlow Serving's parser takes and says."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import orjson

from vitrine_serving.embedded.errors import ServingError, invalid_argument
from vitrine_serving.embedded.rest.codec.quotes import quote
from vitrine_serving.embedded.rest.codec.syntax import JsonSyntaxError, check_syntax

INFINITIES = (float("inf"), float("-inf"))
"""What the literals `Infinity` and `-Infinity` become; a number too big for a double is another object."""

_CONSTANTS = {"NaN": float("nan"), "Infinity": INFINITIES[0], "-Infinity": INFINITIES[1]}
# The search for TensorFlow Serving's own words reads token by token: too slow for a large body.
_MAX_EXPLAINED = 2**16
# Less than any Python's parser takes, so that none decides.
_MAX_NESTING = 900
_TOO_DEEP = "The document is nested too deeply."
_NUMBER_TOO_BIG = "Number too big to be stored in double."
# What a bracket adds to the nesting, as int8.
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
# From this size on a quicker parser is worth what it takes to know that it sees the same; so many strings it may have.
_LARGE = 2**14
_FEW_QUOTES = 200
# So much of a body, from its middle on, tells numbers from a long string.
_GLIMPSE = 2**12
_NO_MARKS = bytes(set(range(256)) - set(b'[{]}"'))
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_LONE_SURROGATE = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])")


class NumberTooBigError(Exception):
    """A number that only Python's parser takes: found when it is used."""


class RepeatedMembers(dict[str, Any]):
    """An object that has a name twice. As a dict it has the first value of each name, which look-ups find."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(reversed(pairs))
        self.last_values = dict(pairs)


def parse_object(body: bytes) -> dict[str, Any]:
    """The JSON object in `body`; raises ServingError INVALID_ARGUMENT.

    Like TensorFlow Serving it takes bare NaN and Infinity, and strings that are not valid UTF-8: their
    bytes come back by encoding with `surrogateescape`.
    """
    if not body:
        raise _parse_error("The document is empty")
    if len(body) > _MAX_NESTING and _has_many_brackets(body) and _nesting(body) > _MAX_NESTING:
        raise _parse_error(_TOO_DEEP)
    document = _parse_numbers(body) if len(body) >= _LARGE else None
    if document is None:
        document = _parse(_decode(body))
    if not isinstance(document, dict):
        raise invalid_argument(f"JSON Value: {quote(document)} Is not object")
    return document


def parse_signature_name(document: dict[str, Any]) -> str:
    """The optional `signature_name` of a request; raises ServingError INVALID_ARGUMENT."""
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid_argument(
            f"JSON Value: {quote(document)} not formatted correctly. 'signature_name' key must be a string value."
        )
    # No signature has a name that is not UTF-8, and messages cannot hold one.
    return name.encode("utf-8", "replace").decode()


def number_too_big(body: bytes) -> ServingError:
    """The parse error of a `body` in whose values a NumberTooBigError showed."""
    if len(body) <= _MAX_EXPLAINED:
        try:
            check_syntax(_decode(body))
        except JsonSyntaxError as error:
            return _parse_error(f"{error} at offset: {_offset(_decode(body), error.position)}")
    return _parse_error(_NUMBER_TOO_BIG)


def _parse_numbers(body: bytes) -> dict[str, Any] | None:
    """The object in a body of hardly anything but numbers, by a quicker parser; None where that does not go.

    While a parser runs no other thread does: a large picture as a list of numbers would hold up every other request.
    Long strings, such as pictures in base64, have no commas; with those Python's own is quicker.
    """
    middle = len(body) // 2
    if body.find(b",", middle, middle + _GLIMPSE) < 0:
        return None
    quotes = _count(body, b'"', _FEW_QUOTES + 1)
    if quotes > _FEW_QUOTES:
        return None
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    # It keeps the last of two members of the same name: then quotes are missing.
    return document if isinstance(document, dict) and _quotes(document) == quotes else None


def _quotes(value: Any) -> int:
    """The quotes round names and strings, where a list's first item says whether to look into it; no escaped ones."""
    if isinstance(value, str):
        return 2
    if isinstance(value, dict):
        return 2 * len(value) + sum(map(_quotes, value.values()))
    if isinstance(value, list) and value and isinstance(value[0], (dict, str)):
        return sum(map(_quotes, value))
    return 0


def _parse(text: str) -> Any:
    is_explained = len(text) <= _MAX_EXPLAINED
    try:
        # Python's parser takes half a surrogate pair.
        if is_explained and "\\" in text and _LONE_SURROGATE.search(text):
            check_syntax(text)
        try:
            return _DECODER.decode(text)
        except ValueError:
            if not is_explained:
                raise
            return _DECODER.decode(check_syntax(text))
    except JsonSyntaxError as error:
        raise _parse_error(f"{error} at offset: {_offset(text, error.position)}") from None
    except json.JSONDecodeError as error:
        raise _parse_error(f"{error.msg} at offset: {_offset(text, error.pos)}") from None
    except ValueError:
        # Python refuses integers of many thousand digits.
        raise _parse_error(_NUMBER_TOO_BIG) from None
    except RecursionError:
        raise _parse_error(_TOO_DEEP) from None


def _has_many_brackets(body: bytes) -> bool:
    lists = _count(body, b"[", _MAX_NESTING + 1)
    return lists + _count(body, b"{", _MAX_NESTING + 1 - lists) > _MAX_NESTING


def _count(body: bytes, mark: bytes, limit: int) -> int:
    """How many there are, or `limit`; where there are few, ten times as fast as `bytes.count`."""
    count, position = 0, body.find(mark)
    while position >= 0 and count < limit:
        count += 1
        position = body.find(mark, position + 1)
    return count


def _nesting(body: bytes) -> int:
    """How deep lists and objects are nested in `body`, if it is JSON."""
    if b"\\" in body:
        body = body.replace(rb"\\", b"").replace(rb"\"", b"")
    # Two quotes side by side are an empty string, or two strings that may as well be one.
    marks = body.translate(_STEPS, _NO_MARKS).replace(b'""', b"")
    outside_strings = b"".join(marks.split(b'"')[::2])
    levels = np.cumsum(np.frombuffer(outside_strings, np.int8), dtype=np.int32)
    return int(levels.max(initial=0))


def _decode(body: bytes) -> str:
    # Spaces for a byte order mark, any byte of which may be missing, keep the offsets right.
    if body[0] in _BYTE_ORDER_MARK:
        mark = 0
        for byte in _BYTE_ORDER_MARK:
            mark += body[mark] == byte if mark < len(body) else 0
        body = b" " * mark + body[mark:]
    try:
        return body.decode()
    except UnicodeDecodeError:
        return body.decode("utf-8", "surrogateescape")


def _offset(text: str, position: int) -> int:
    return len(text[:position].encode("utf-8", "surrogateescape"))


def _parse_error(message: str) -> ServingError:
    return invalid_argument(f"JSON Parse error: {message}")


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    return members if len(members) == len(pairs) else RepeatedMembers(pairs)


_DECODER = json.JSONDecoder(object_pairs_hook=_members, parse_constant=_CONSTANTS.__getitem__)
