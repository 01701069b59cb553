"""How many pictures of each class there are in each split."""

from __future__ import annotations

from collections import Counter

from matplotlib.figure import Figure

from vitrine_export.datasets.index import SPLITS, DatasetIndex
from vitrine_export.plots.drawing import LIGHT, MOST_NAMED, Theme, short


def class_distribution(index: DatasetIndex, theme: Theme = LIGHT) -> Figure:
    """Stacked bars, one a class: by name where names can be read, else by size."""
    counts = Counter((picture.split, picture.label) for picture in index.pictures)
    colours = dict(zip(SPLITS, (theme.blue, theme.orange, theme.green), strict=True))
    named = len(index.labels) <= MOST_NAMED
    if named:
        labels = list(index.labels)
        figure = Figure(figsize=(5.2, max(2.2, 0.26 * len(labels) + 1.4)), layout="constrained")
    else:
        labels = sorted(index.labels, key=lambda label: -sum(counts[split, label] for split in SPLITS))
        figure = Figure(figsize=(9, 3.5), layout="constrained")
    axes = figure.subplots()
    below = [0] * len(labels)
    places = range(len(labels))
    for split in SPLITS:
        heights = [counts[split, label] for label in labels]
        if named:
            axes.barh(places, heights, left=below, color=colours[split], label=split)
        else:
            axes.bar(places, heights, 1.0, below, color=colours[split], label=split)
        below = [low + height for low, height in zip(below, heights, strict=True)]
    if named:
        axes.set_yticks(places, [short(label) for label in labels])
        axes.margins(y=0.02)
        axes.invert_yaxis()
        axes.set(xlabel="pictures")
        axes.grid(visible=True, axis="x")
    else:
        axes.set_xticks([])
        axes.set(xlabel=f"{len(labels)} classes, the largest first", ylabel="pictures", xlim=(-0.5, len(labels) - 0.5))
        axes.grid(visible=True, axis="y")
    axes.set_title("Pictures per class", pad=22)
    axes.legend(fontsize=8, ncols=3, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.3, borderpad=0)
    return figure
