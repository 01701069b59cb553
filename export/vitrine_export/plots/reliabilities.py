"""The reliability diagram: whether scores can be taken for probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from vitrine_export.plots.drawing import LIGHT, Theme

Groups = Sequence[Mapping[str, float]]


def reliability(groups: Groups, scaled: Groups | None = None, theme: Theme = LIGHT) -> Figure:
    """Accuracy over confidence, and below how many pictures each point stands for.

    Args:
        groups: as calibration.reliability gives them.
        scaled: the same after temperature scaling.
    """
    figure = Figure(figsize=(5.2, 4.4), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    upper.plot([0, 1], [0, 1], color=theme.muted, linestyle="--", linewidth=1, label="honest scores")
    lines = [(groups, "as trained", theme.blue, "o")]
    if scaled:
        lines.append((scaled, "with temperature", theme.orange, "s"))
    for points, label, colour, marker in lines:
        confidence, accuracy = ([point[key] for point in points] for key in ("confidence", "accuracy"))
        upper.plot(confidence, accuracy, color=colour, marker=marker, markersize=5, label=label)
    upper.set(ylabel="accuracy", title="Reliability of the scores", ylim=(-0.03, 1.03), xlim=(0, 1.02))
    upper.legend(fontsize=8)
    upper.grid(visible=True)
    widths = [group["high"] - group["low"] for group in groups]
    counts = [group["pictures"] for group in groups]
    lower.bar([group["low"] for group in groups], counts, widths, align="edge", color=theme.blue, edgecolor=theme.paper)
    lower.set(xlabel="confidence: the score of the answer", ylabel="pictures")
    for axis in (upper.yaxis, lower.xaxis):
        axis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    return figure
