"""Loss and accuracy over the epochs, and where the network began to overfit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vitrine_export.plots.drawing import LIGHT, Theme

History = Mapping[str, Sequence[Any]]
_STAGES = {"head": "head", "fine_tune": "fine-tuning", "network": "whole network"}


def best_epoch(history: History) -> int | None:
    """The epoch (from 1) of the lowest validation loss, after which the network overfits; None without such a loss."""
    losses = np.array(history.get("val_loss", ()), np.float64)
    return int(np.nanargmin(losses)) + 1 if np.isfinite(losses).any() else None


def curves(history: History, theme: Theme = LIGHT) -> Figure:
    """Loss and accuracy side by side, training and validation."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    for axes, key in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        _draw(axes, history, key, theme)
    return figure


def curve(history: History, key: str, theme: Theme = LIGHT) -> Figure:
    """One of the two: `key` is loss or accuracy."""
    figure = Figure(figsize=(5.2, 4), layout="constrained")
    _draw(figure.subplots(), history, key, theme)
    return figure


def _draw(axes: Axes, history: History, key: str, theme: Theme) -> None:
    epochs = range(1, len(history[key]) + 1)
    axes.plot(epochs, history[key], color=theme.blue, label="training", marker=".")
    if f"val_{key}" in history:
        axes.plot(epochs, history[f"val_{key}"], color=theme.orange, label="validation", marker=".")
    axes.set(xlabel="epoch", title=key.capitalize())
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(visible=True)
    best = best_epoch(history)
    if best is not None:
        axes.axvline(best, color=theme.ink, linestyle="--", linewidth=1, label=f"lowest validation loss: epoch {best}")
        if best < len(epochs):
            axes.axvspan(best, len(epochs), color=theme.muted, alpha=0.12, linewidth=0, label="overfitting")
    stages = list(history.get("stage", ()))
    for epoch in range(1, len(stages)):
        if stages[epoch] != stages[epoch - 1]:
            axes.axvline(epoch + 0.5, color=theme.muted, linestyle=":", linewidth=1.2)
            name = _STAGES.get(stages[epoch], stages[epoch])
            # Written at a share of the axes' height: the values' range is not known to the text.
            axes.text(epoch + 0.55, 0.98, f"{name} →", transform=axes.get_xaxis_transform(), va="top", fontsize=8)
    # Below, where it covers no line.
    axes.legend(fontsize=8, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.16))
