"""The confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from vitrine_export.plots.drawing import LIGHT, MOST_NAMED, Theme, short


def confusion(matrix: Sequence[Sequence[int]], labels: Sequence[str], theme: Theme = LIGHT) -> Figure:
    """Counts of true (rows) against predicted (columns) classes, coloured by the share of the row."""
    counts = np.array(matrix)
    named = len(labels) <= MOST_NAMED
    side = max(4.2, 0.36 * len(labels) + 2.4) if named else 8.5
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    colours = LinearSegmentedColormap.from_list("shares", [theme.paper, theme.blue])
    axes.imshow(shares, cmap=colours, vmin=0, vmax=1)
    axes.spines[:].set_visible(False)
    axes.set(xlabel="predicted", ylabel="true", title="Test pictures by true and predicted class")
    if not named:
        axes.set(xlabel="predicted (classes by number)", ylabel="true (classes by number)")
        return figure
    names = [short(label) for label in labels]
    axes.set_xticks(range(len(names)), names, rotation=50, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names)
    for set_ticks in (axes.set_xticks, axes.set_yticks):
        set_ticks(np.arange(1, len(names)) - 0.5, minor=True)
    axes.grid(visible=True, which="minor", linewidth=0.6)
    axes.tick_params(which="both", length=0)
    for (row, column), count in np.ndenumerate(counts):
        if count:
            colour = theme.paper if shares[row, column] > 0.5 else theme.ink
            axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=8)
    return figure
