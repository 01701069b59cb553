"""Aligned text tables, for every command of ours: plain, or in colours for a terminal."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from typing import NamedTuple

_GAP = "  "
_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


class Cell(NamedTuple):
    """A table's cell with a colour: bold, dim, red, green, yellow or cyan."""

    value: object
    colour: str


def format_table(headers: Sequence[str], rows: Iterable[Sequence[object]], *, coloured: bool = False) -> str:
    """Left-aligned columns two spaces apart, headers in capitals, no newline at the end.

    Args:
        rows: cells of any type, `Cell` for one with a colour.
        coloured: for a terminal; all colours are left out where it is False.
    """
    lines = [header_cells(headers), *rows]
    widths = [max(map(cell_width, column)) for column in zip(*lines, strict=True)]
    return "\n".join(format_row(line, widths, coloured=coloured) for line in lines)


def header_cells(headers: Sequence[str]) -> list[Cell]:
    return [Cell(header.upper(), "bold") for header in headers]


def format_row(cells: Sequence[object], widths: Sequence[int], *, coloured: bool = False) -> str:
    """One line of a table whose widths are known; a cell that is wider moves those after it."""
    padded = []
    for cell, width in zip(cells, widths, strict=True):
        text = printable(cell.value if isinstance(cell, Cell) else cell)
        padding = " " * (width - cell_width(text))
        padded.append((paint(text, cell.colour) if coloured and isinstance(cell, Cell) else text) + padding)
    return _GAP.join(padded).rstrip()


def cell_width(cell: object) -> int:
    """How many columns of a terminal a cell takes."""
    text = printable(cell.value if isinstance(cell, Cell) else cell)
    return len(text) if text.isascii() else sum(map(_width, text))


def paint(text: str, colour: str) -> str:
    return f"\x1b[{_CODES[colour]}m{text}\x1b[0m" if text else text


def printable(value: object) -> str:
    """Text without control characters: labels and file names come from elsewhere and must not drive the terminal."""
    text = str(value)
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def _width(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
