"""Kinds of flags: how the text after `=` becomes a checked value.

They read what TensorFlow Serving's own parser reads, and refuse what does not fit instead of letting it wrap.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

INT32_MAX = 2**31 - 1
INT32_MIN = -(2**31)
INT64_MAX = 2**63 - 1
INT64_MIN = -(2**63)


@dataclass(frozen=True)
class Kind:
    """A flag's help and, by subclass, its kind of value."""

    help: str

    @property
    def placeholder(self) -> str:
        """Stands for the value in the help of a flag without a default."""
        return "TEXT"

    def convert(self, text: str) -> object:
        """The value; raises ValueError, with the reason as its text, when it is no such value."""
        return text


@dataclass(frozen=True)
class Text(Kind):
    """Any text, unless `required` refuses the empty one."""

    required: bool = False

    def convert(self, text: str) -> str:
        if self.required and not text:
            raise ValueError("must not be empty")
        return text


@dataclass(frozen=True)
class File(Kind):
    """A path or an address; empty for none."""

    @property
    def placeholder(self) -> str:
        return "PATH"


@dataclass(frozen=True)
class Switch(Kind):
    """True or false; the flag alone is true."""

    def convert(self, text: str) -> bool:
        word = text.lower()
        if word not in ("true", "1", "false", "0"):
            raise ValueError(f"{text!r} is not true or false")
        return word in ("true", "1")


@dataclass(frozen=True)
class Whole(Kind):
    """A whole number of a range."""

    lowest: int = 0
    highest: int = INT32_MAX

    @property
    def placeholder(self) -> str:
        return "NUMBER"

    def convert(self, text: str) -> int:
        allowed = f"a whole number from {self.lowest} to {self.highest}"
        if not re.fullmatch(r"\s*[+-]?[0-9]{1,30}", text):
            raise ValueError(f"{text!r} is not {allowed}")
        value = int(text)
        if not self.lowest <= value <= self.highest:
            raise ValueError(f"{value} is not {allowed}")
        return value


@dataclass(frozen=True)
class Number(Kind):
    """A finite number of a range."""

    lowest: float = 0.0
    highest: float = 1e6

    @property
    def placeholder(self) -> str:
        return "NUMBER"

    def convert(self, text: str) -> float:
        try:
            value = math.nan if "_" in text else float(text)
        except ValueError:
            value = math.nan
        if not self.lowest <= value <= self.highest:
            raise ValueError(f"{text!r} is not a number from {self.lowest:.15g} to {self.highest:.15g}")
        return value


@dataclass(frozen=True)
class Tags(Kind):
    """Comma-separated tags of a MetaGraph; none means `serve`."""

    def convert(self, text: str) -> tuple[str, ...]:
        return tuple(text.split(",")) if text else ("serve",)


@dataclass(frozen=True)
class ChannelArguments(Kind):
    """Comma-separated `key=value` for gRPC, where a value that reads as an int32 is one."""

    @property
    def placeholder(self) -> str:
        return "KEY=VALUE,..."

    def convert(self, text: str) -> tuple[tuple[str, int | str], ...]:
        return tuple(_channel_argument(item) for item in text.split(",")) if text else ()


def _channel_argument(item: str) -> tuple[str, int | str]:
    key, equals, value = item.partition("=")
    if not key or not equals:
        raise ValueError(f"{item!r} is not of the form key=value, as in grpc.max_connection_age_ms=2000")
    try:
        return key, Whole("", INT32_MIN, INT32_MAX).convert(value)
    except ValueError:
        return key, value
