"""JSON values as error messages quote them: laid out like TensorFlow Serving's, cut to a length worth reading."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vitrine_serving.embedded.rest.codec.decimals import decimal
from vitrine_serving.embedded.rest.codec.layout import indent, string

_MAX_LENGTH = 4096
_WORDS = {None: "null", True: "true", False: "false"}


def quote(value: Any) -> str:
    """`value` as indented JSON, at most about 4,000 characters of it; takes values nested to any depth."""
    text = ""
    for piece in _pieces(value):
        text += piece
        if len(text) > _MAX_LENGTH:
            return text[:_MAX_LENGTH] + "..."
    return text


def _pieces(value: Any) -> Iterator[str]:
    levels: list[tuple[str, Iterator[tuple[str, Any]]]] = []
    separator = ""
    while True:
        if isinstance(value, dict):
            yield "{"
            levels.append(("}", ((f"{_scalar(name)}: ", item) for name, item in value.items())))
        elif isinstance(value, list):
            yield "["
            levels.append(("]", (("", item) for item in value)))
        else:
            yield _scalar(value)
            separator = ","
        while levels:
            closer, members = levels[-1]
            member = next(members, None)
            if member is not None:
                break
            levels.pop()
            yield (f"\n{indent(len(levels))}" if separator else "") + closer
            separator = ","
        else:
            return
        label, value = member
        yield f"{separator}\n{indent(len(levels))}{label}"
        separator = ""


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return string(value[:_MAX_LENGTH])
    if isinstance(value, float):
        return decimal(value)
    if isinstance(value, bool) or value is None:
        return _WORDS[value]
    # Python refuses to print integers of many thousand digits.
    return str(value) if value.bit_length() < _MAX_LENGTH else "..."
