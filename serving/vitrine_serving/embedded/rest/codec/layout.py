"""The line breaks and indents of TensorFlow Serving's answers: those of rapidjson's PrettyWriter."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

# Control characters JSON has no short escape for are written in capital hex digits.
_ESCAPES = {code: f"\\u{code:04X}" for code in range(0x20)}
_ESCAPES |= {ord(char): "\\" + short for char, short in zip('\b\t\n\f\r"\\', 'btnfr"\\', strict=True)}


def indent(depth: int) -> str:
    return "    " * depth


def string(text: str) -> str:
    """`text` as a JSON string; non-ASCII characters stay as they are."""
    return f'"{text.translate(_ESCAPES)}"'


def members(texts: Iterable[tuple[str, str]], depth: int) -> str:
    """An object inside `depth` others, of its (name, value text) pairs, of which there must be one."""
    separator = f",\n{indent(depth + 1)}"
    inside = separator.join(f"{string(name)}: {text}" for name, text in texts)
    return f"{{\n{indent(depth + 1)}{inside}\n{indent(depth)}}}"


def nest(texts: Sequence[str], shape: Sequence[int], depth: int, *, one_line: bool, kept: int = 0) -> Sequence[str]:
    """The texts of an array's values, in C order, put into nested lists down from axis `kept`.

    Returns one text for each index of the first `kept` axes. `depth` is that of the outermost list.
    """
    for axis in range(len(shape) - 1, kept - 1, -1):
        size = shape[axis]
        if size == 0:
            texts = ["[]"] * math.prod(shape[:axis])
            continue
        around = depth + axis - kept
        opener, separator, closer = "[", ", ", "]"
        if not one_line:
            line = f"\n{indent(around + 1)}"
            opener, separator, closer = f"[{line}", f",{line}", f"\n{indent(around)}]"
        texts = [
            f"{opener}{separator.join(texts[start : start + size])}{closer}" for start in range(0, len(texts), size)
        ]
    return texts
