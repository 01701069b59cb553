"""Protobuf's text format, as TensorFlow Serving reads it from files."""

from __future__ import annotations

from typing import TypeVar

from google.protobuf import text_format
from google.protobuf.message import Message

from vitrine_serving.config.errors import InvalidConfig

_M = TypeVar("_M", bound=Message)


def parse(content: bytes, message: _M) -> _M:
    """Fill `message` from text format and return it; raises InvalidConfig with the parser's reason in one line."""
    if not content:
        # TensorFlow Serving cannot read one either, and one that is just being written must not count.
        raise InvalidConfig("the file is empty")
    try:
        text_format.Parse(content.decode("utf-8"), message)
    except UnicodeDecodeError as error:
        before = content[: error.start].rpartition(b"\n")[2]
        raise InvalidConfig(str(error), content.count(b"\n", 0, error.start) + 1, len(before) + 1) from None
    except text_format.ParseError as error:
        line, column = error.GetLine(), error.GetColumn()
        # The place is told apart from the reason.
        reason = " ".join(str(error).split()).removeprefix(f"{line}:{column} : ")
        raise InvalidConfig(reason, line, column) from None
    return message


def to_text(message: Message, comment: str) -> str:
    """Text format with a line of `comment` at its head."""
    return f"# {comment}\n{text_format.MessageToString(message)}"
