"""Pictures in rows and columns: with the network's answers, and as augmentation changes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageColor

from vitrine_export.plots.drawing import LIGHT, Theme, short

if TYPE_CHECKING:
    from vitrine_export.evaluation.examples import Augmented, Example, Pixels

_COLUMNS = 5
# Of a picture's square and of the gap between two, in pixels of the canvas; 110 make an inch.
_SIDE, _GAP, _LINE = 190, 12, 20
_INCH = 110


class _Cell(NamedTuple):
    pixels: Pixels
    title: str = ""
    colour: str | None = None


def prediction_grid(examples: Sequence[Example], theme: Theme = LIGHT) -> Figure:
    """Each picture under what the network says of it and what it is."""
    cells = []
    for example in examples:
        mark, colour = ("✓", theme.blue) if example.is_right else ("✗ is", theme.orange)
        answers = [short(words) for words in example.words]
        said = ", ".join(answers)
        if len(said) > 26:
            said = "\n".join(answers)
        cells.append(_Cell(example.pixels, f"{said}\n{mark} {short(example.truth)}", colour))
    return _grid(cells, min(_COLUMNS, len(cells)), 3, theme)


def augmented_samples(rows: Sequence[Augmented], theme: Theme = LIGHT) -> Figure:
    """A picture a row: as it is, then as training may see it."""
    cells = [
        _Cell(pixels, short(row.label) if column == 0 else "")
        for row in rows
        for column, pixels in enumerate((row.original, *row.changed))
    ]
    return _grid(cells, 1 + len(rows[0].changed), 1, theme)


def _grid(cells: Sequence[_Cell], columns: int, lines: int, theme: Theme) -> Figure:
    """One canvas for all: an axes for each picture would take seconds."""
    step_x, step_y = _SIDE + _GAP, _SIDE + _GAP + lines * _LINE
    size = (columns * step_x + _GAP, -(-len(cells) // columns) * step_y + _GAP)
    canvas = Image.new("RGB", size, ImageColor.getrgb(theme.paper)[:3])
    figure = Figure(figsize=(size[0] / _INCH, size[1] / _INCH))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis("off")
    for number, cell in enumerate(cells):
        left, bottom = _GAP + number % columns * step_x, (number // columns + 1) * step_y
        picture = _fitted(cell.pixels)
        canvas.paste(picture, (left + (_SIDE - picture.width) // 2, bottom - picture.height))
        axes.text(
            left + _SIDE / 2,
            bottom - picture.height - _LINE / 4,
            cell.title,
            ha="center",
            va="bottom",
            fontsize=8,
            color=cell.colour or theme.ink,
        )
    axes.imshow(np.asarray(canvas), aspect="auto", interpolation="nearest")
    return figure


def _fitted(pixels: Pixels) -> Image.Image:
    picture = Image.fromarray(pixels)
    scale = _SIDE / max(picture.size)
    # Pictures of a few pixels are shown as such, not as a blur.
    resample = Image.Resampling.NEAREST if max(picture.size) < 64 else Image.Resampling.LANCZOS
    return picture.resize((max(1, round(picture.width * scale)), max(1, round(picture.height * scale))), resample)
