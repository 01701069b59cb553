"""Pictures of a training run. Drawn without a display, so they work on any machine."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

_GOOD, _BAD = "#1a7f37", "#c62828"


def curves(history: Mapping[str, Sequence[float]], path: Path) -> None:
    """Loss and accuracy over the epochs, training and validation."""
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    for axes, (key, title) in zip(figure.subplots(1, 2), (("loss", "loss"), ("accuracy", "accuracy")), strict=True):
        epochs = range(1, len(history[key]) + 1)
        axes.plot(epochs, history[key], label="training")
        axes.plot(epochs, history[f"val_{key}"], label="validation")
        axes.set(xlabel="epoch", title=title)
        axes.grid(alpha=0.3)
        axes.legend()
    _save(figure, path)


def confusion(matrix: np.ndarray[Any, Any], labels: Sequence[str], path: Path) -> None:
    """Counts of true (rows) against predicted (columns) classes, coloured by the share of the row."""
    side = max(4.0, 0.45 * len(labels) + 2)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(labels)), labels, rotation=60, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(labels)), labels)
    axes.set(xlabel="predicted", ylabel="true", title="test split, pictures")
    if len(labels) <= 40:
        for (row, column), count in np.ndenumerate(matrix):
            if count:
                dark = shares[row, column] > 0.5
                axes.text(
                    column,
                    row,
                    str(count),
                    ha="center",
                    va="center",
                    color="white" if dark else "black",
                    fontsize=8,
                )
    _save(figure, path)


def prediction_grid(
    files: Sequence[Path],
    truth: Sequence[str],
    predicted: Sequence[str],
    scores: np.ndarray[Any, Any],
    path: Path,
    columns: int = 5,
    rows: int = 4,
) -> None:
    """Test pictures with truth, answer and confidence; the mistakes first, the least confident of the rest after."""
    order = sorted(range(len(files)), key=lambda i: (truth[i] == predicted[i], scores[i]))[: columns * rows]
    rows = -(-len(order) // columns)
    figure = Figure(figsize=(2 * columns, 2.4 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for cell in axes:
        cell.axis("off")
    for cell, i in zip(axes, order, strict=False):
        with Image.open(files[i]) as picture:
            picture.draft("RGB", (256, 256))
            rgb = picture.convert("RGB")
        rgb.thumbnail((256, 256))
        cell.imshow(rgb)
        colour = _GOOD if truth[i] == predicted[i] else _BAD
        cell.set_title(f"{predicted[i]} {scores[i]:.0%}\n(is {truth[i]})", fontsize=8, color=colour)
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    with warnings.catch_warnings():
        # Labels may be in any script; what the font does not have is drawn as a box.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(path, dpi=110)
