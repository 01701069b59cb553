"""Types for argparse that several rooms have values of."""

from __future__ import annotations

import argparse
from collections.abc import Callable


def whole(lowest: int, highest: int = 2**31 - 1) -> Callable[[str], int]:
    """A type of whole numbers in decimal digits."""

    def parse(text: str) -> int:
        if not (text.isascii() and text.isdecimal() and len(text) < 12 and lowest <= int(text) <= highest):
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {lowest} to {highest}")
        return int(text)

    return parse
