"""Predictions as they come, one after the other: a table for people, JSON or CSV for programs."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from typing import Protocol

from vitrine_client.cli.console import Console
from vitrine_client.results import Prediction
from vitrine_client.tables import Cell, cell_width, format_row, header_cells, printable

# What a table on a terminal keeps for score and label.
_OTHER_COLUMNS = 30
_NARROWEST = 20


class Writer(Protocol):
    """Writes predictions. What comes of `begin`, anything or nothing, and `end` is whole."""

    def begin(self) -> None: ...

    def add(self, picture: str, prediction: Prediction) -> None: ...

    def add_failed(self, picture: str, reason: str) -> None: ...

    def end(self) -> None: ...


class TableWriter:
    """A row for each label. The label comes last, so that its width need not be known beforehand.

    Args:
        pictures: all that will come, for the width of their column.
    """

    def __init__(self, console: Console, pictures: Sequence[str], top: int) -> None:
        self._console = console
        self._top = top
        width = max(map(cell_width, pictures), default=0)
        if console.columns is not None:
            # One long path does not push all other rows off the screen.
            width = min(width, max(_NARROWEST, console.columns - _OTHER_COLUMNS))
        self._widths = (max(width, len("picture")), len("0.0000"), 0)
        self._begun = False

    def begin(self) -> None:
        """The header comes with the first row: without any, there is no table."""

    def add(self, picture: str, prediction: Prediction) -> None:
        if not self._begun:
            self._row(*header_cells(("picture", "score", "label")))
            self._begun = True
        for place, (label, score) in enumerate(prediction.top[: self._top]):
            first = place == 0
            self._row(
                picture if first else "",
                Cell(f"{score:.4f}", "cyan" if first else "dim"),
                label if first else Cell(label, "dim"),
            )

    def add_failed(self, picture: str, reason: str) -> None:
        """Failures are talk: the table has none of them."""

    def end(self) -> None:
        """Each row is complete by itself."""

    def _row(self, *cells: object) -> None:
        self._console.write(format_row(cells, self._widths, coloured=self._console.coloured))


class JsonWriter:
    """An array with an object on each line.

    Args:
        top: how many labels; all that the model gives, if None.
    """

    def __init__(self, console: Console, top: int | None) -> None:
        self._console = console
        self._top = top
        self._comma = "  "

    def begin(self) -> None:
        self._console.write("[")

    def add(self, picture: str, prediction: Prediction) -> None:
        top = [{"label": label, "score": _number(score)} for label, score in prediction.top[: self._top]]
        self._object({"picture": picture, "label": prediction.label, "score": _number(prediction.score), "top": top})

    def add_failed(self, picture: str, reason: str) -> None:
        self._object({"picture": picture, "error": reason})

    def end(self) -> None:
        self._console.write("]")

    def _object(self, value: object) -> None:
        # The comma in front: each line can be the last one, and a progress bar has a line of its own.
        self._console.write(f"{self._comma}{json.dumps(value)}")
        self._comma = ", "


class CsvWriter:
    """A header, and a row for each picture with `top` labels and their scores, and the reason where it failed."""

    def __init__(self, console: Console, top: int) -> None:
        self._console = console
        self._top = top

    def begin(self) -> None:
        names = [f"{name}{place or ''}" for place in (0, *range(2, self._top + 1)) for name in ("label", "score")]
        self._row(["picture", *names, "error"])

    def add(self, picture: str, prediction: Prediction) -> None:
        cells = [cell for pair in prediction.top[: self._top] for cell in pair]
        self._row([picture, *cells, *[""] * (2 * self._top - len(cells)), ""])

    def add_failed(self, picture: str, reason: str) -> None:
        self._row([picture, *[""] * (2 * self._top), reason])

    def end(self) -> None:
        """Each row is complete by itself."""

    def _row(self, cells: Sequence[object]) -> None:
        if self._console.columns is not None:
            cells = [printable(cell) for cell in cells]
        line = io.StringIO()
        csv.writer(line, lineterminator="").writerow(cells)
        self._console.write(line.getvalue())


def _number(score: float) -> float | None:
    # JSON has no word for what is not finite.
    return score if math.isfinite(score) else None
