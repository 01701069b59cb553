"""Pictures of a search. Drawn without a display, so they work on any machine."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vitrine_export.search.outcome import Result, Results, shown
from vitrine_export.search.space import Value

_COMPLETE, _PRUNED, _FAILED, _BEST = "#1f6feb", "#9a6700", "#c62828", "#1a7f37"
_LARGEST_MAP = 12


def draw(results: Results, folder: Path) -> list[str]:
    """Draw the search into `folder`; the names of the files, in the order in which one looks at them."""
    figures = {
        "trials.png": _trials(results),
        "epochs.png": _epochs(results),
        "parameters.png": _parameters(results),
        "combinations.png": _combinations(results),
    }
    drawn = {name: figure for name, figure in figures.items() if figure is not None}
    for name, figure in drawn.items():
        with warnings.catch_warnings():
            # Values may be text in any script; what the font does not have is drawn as a box.
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            figure.savefig(folder / name, dpi=110)
    return list(drawn)


def _trials(results: Results) -> Figure:
    """Each trial's value in the order of the trials, and the best so far."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots()
    complete = _in_state(results, "complete")
    best: list[float] = []
    for value in _values(complete):
        best.append(value if not best or results.better(value, best[-1]) else best[-1])
    last = max(result.trial for result in results.results)
    axes.step([*(r.trial for r in complete), last], [*best, best[-1]], where="post", color=_BEST, label="best so far")
    axes.scatter([r.trial for r in complete], _values(complete), color=_COMPLETE, label="complete", zorder=3)
    pruned = [result for result in _in_state(results, "pruned") if result.value is not None]
    if pruned:
        axes.scatter(
            [r.trial for r in pruned], _values(pruned),
            facecolors="none", edgecolors=_PRUNED, label="pruned (best until then)", zorder=3,
        )  # fmt: skip
    if failed := _in_state(results, "failed"):
        # They have no value to stand at.
        axes.scatter(
            [r.trial for r in failed], [0.02] * len(failed), marker="x", color=_FAILED, label="failed",
            transform=axes.get_xaxis_transform(), zorder=3,
        )  # fmt: skip
    _describe(axes, "trial", results.metric, "trials in their order")
    return figure


def _epochs(results: Results) -> Figure:
    """The metric over the epochs of every trial; the winner stands out."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots()
    best = results.best()
    labelled = set()
    # The best is drawn last, over all others.
    for result in sorted(results.ranked(), key=lambda result: (result == best, result.state != "complete")):
        if not result.curve:
            continue
        won = best is not None and result.trial == best.trial
        kind = f"best: trial {result.trial}" if won else result.state
        colour = _BEST if won else {"complete": _COMPLETE, "pruned": _PRUNED, "failed": _FAILED}[result.state]
        faint = result.state == "complete" and not won
        axes.plot(
            range(1, len(result.curve) + 1), result.curve, color=colour, alpha=0.4 if faint else 1,
            linewidth=2.5 if won else 1, marker="o" if len(result.curve) == 1 else None,
            label=None if kind in labelled else kind,
        )  # fmt: skip
        labelled.add(kind)
    _describe(axes, "epoch", results.metric, "every trial over its epochs")
    return figure


def _describe(axes: Axes, counted: str, metric: str, title: str) -> None:
    axes.set(xlabel=counted, ylabel=metric, title=title)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend()


def _parameters(results: Results) -> Figure:
    """For each parameter, the values of the complete trials over what was tried; medians as lines."""
    columns = min(3, len(results.names))
    rows = -(-len(results.names) // columns)
    figure = Figure(figsize=(max(5, 4 * columns), 3.5 * rows), layout="constrained")
    cells = figure.subplots(rows, columns, squeeze=False, sharey=True)
    complete, best = _in_state(results, "complete"), results.best()
    for axes in cells.ravel()[len(results.names) :]:
        axes.axis("off")
    for axes, name in zip(cells.ravel(), results.names, strict=False):
        tried = [result.values[name] for result in complete]
        choices = _choices(tried)
        numbers = _drawn(tried)
        places = np.array(tried if numbers else [choices.index(value) for value in tried], float)
        if not numbers:
            for place in range(len(choices)):
                median = np.median([value for value, at in zip(_values(complete), places, strict=True) if at == place])
                axes.hlines(median, place - 0.25, place + 0.25, color="black", linewidth=1.5)
            axes.set_xticks(range(len(choices)), [shown(value) for value in choices])
            axes.set_xlim(-0.6, len(choices) - 0.4)
            # Side by side, so that equal values do not hide each other.
            places = places + [0.03 * (at % 9 - 4) for at in range(len(places))]
        elif _logarithmic(places):
            axes.set_xscale("log")
        colours = [_BEST if best and result.trial == best.trial else _COMPLETE for result in complete]
        axes.scatter(places, _values(complete), c=colours, alpha=0.7)
        axes.set_xlabel(name)
        axes.grid(alpha=0.3)
    for axes in cells[:, 0]:
        axes.set_ylabel(results.metric)
    figure.suptitle("complete trials by parameter (best in green, lines are medians)")
    return figure


def _combinations(results: Results) -> Figure | None:
    """Two or three parameters of few values as a map, more or other ones as parallel lines; None for a single one."""
    complete = _in_state(results, "complete")
    choices = {name: _choices([result.values[name] for result in results.results]) for name in results.names}
    if len(choices) < 2:
        return None
    if len(choices) <= 3 and all(len(values) <= _LARGEST_MAP for values in choices.values()):
        return _maps(results, complete, choices)
    return _parallel(results, complete, choices)


def _maps(results: Results, complete: Sequence[Result], choices: dict[str, list[Value]]) -> Figure:
    *panel, row, column = results.names
    panels = choices[panel[0]] if panel else [None]
    width = max(3.0, 0.9 * len(choices[column]) + 1)
    figure = Figure(
        figsize=(max(5, width * len(panels) + 1), max(3.2, 0.7 * len(choices[row]) + 1.6)), layout="constrained"
    )
    cells = figure.subplots(1, len(panels), squeeze=False)[0]
    values = _values(complete)
    colours = "viridis_r" if results.metric == "val_loss" else "viridis"
    image: Any = None
    for axes, at in zip(cells, panels, strict=True):
        grid = np.full((len(choices[row]), len(choices[column])), np.nan)
        states = np.full(grid.shape, "", dtype=object)
        for result in reversed(results.ranked()):  # The best of a combination is drawn last.
            if not panel or result.values[panel[0]] == at:
                place = choices[row].index(result.values[row]), choices[column].index(result.values[column])
                states[place] = result.state
                grid[place] = result.value if result.state == "complete" else np.nan
        image = axes.imshow(grid, cmap=colours, vmin=min(values), vmax=max(values), aspect="auto")
        middle = (min(values) + max(values)) / 2
        for (y, x), value in np.ndenumerate(grid):
            dark = value > middle if results.metric == "val_loss" else value < middle
            text = states[y, x] if np.isnan(value) else f"{value:.3f}"
            axes.text(x, y, text, ha="center", va="center", color="white" if dark else "black")
        axes.set_xticks(range(len(choices[column])), [shown(value) for value in choices[column]])
        axes.set_yticks(range(len(choices[row])), [shown(value) for value in choices[row]])
        axes.set(xlabel=column, ylabel=row, title=f"{panel[0]} {shown(at)}" if panel else "")
    figure.colorbar(image, ax=list(cells), label=results.metric)
    return figure


def _parallel(results: Results, complete: Sequence[Result], choices: dict[str, list[Value]]) -> Figure:
    figure = Figure(figsize=(max(7, 2.2 * len(choices) + 2), 4.5), layout="constrained")
    axes = figure.subplots()
    values = np.array(_values(complete))
    spread = max(values.max() - values.min(), 1e-12)
    good = (values - values.min()) / spread if results.metric == "val_accuracy" else (values.max() - values) / spread
    heights = {name: _heights([result.values[name] for result in complete]) for name in choices}
    for at in np.argsort(good, kind="stable"):
        line = [heights[name][at] for name in choices]
        axes.plot(range(len(choices)), line, color=_map_colour(good[at]), alpha=0.4 + 0.6 * float(good[at]))
    for place, name in enumerate(choices):
        tried = [result.values[name] for result in complete]
        axes.axvline(place, color="black", linewidth=0.8)
        marks = dict(zip(heights[name], tried, strict=True))
        ends = sorted(marks) if len(marks) <= _LARGEST_MAP else [min(marks), max(marks)]
        for height in ends:
            axes.annotate(shown(marks[height]), (place, height), xytext=(4, 0), textcoords="offset points", fontsize=8)
    axes.set_xticks(range(len(choices)), list(choices))
    axes.set_yticks([])
    axes.set_title(f"complete trials; the darker, the better the {results.metric}")
    return figure


def _heights(tried: Sequence[Value]) -> list[float]:
    """Where values stand on an axis from 0 to 1: numbers by size, on a logarithmic scale where they span much."""
    choices = _choices(tried)
    if not _drawn(tried):
        return [choices.index(value) / max(1, len(choices) - 1) for value in tried]
    numbers = np.array(tried, float)
    if _logarithmic(numbers):
        numbers = np.log(numbers)
    return [float(height) for height in (numbers - numbers.min()) / max(numbers.max() - numbers.min(), 1e-12)]


def _logarithmic(numbers: np.ndarray[Any, Any]) -> bool:
    """Whether numbers span so much that most of them would lie on each other on a linear scale."""
    return bool(numbers.min() > 0 and numbers.max() / numbers.min() > 50)


def _map_colour(share: float) -> Any:
    from matplotlib import colormaps

    return colormaps["viridis_r"](0.1 + 0.9 * float(share))


def _values(results: Sequence[Result]) -> list[float]:
    return [result.value for result in results if result.value is not None]


def _in_state(results: Results, state: str) -> list[Result]:
    return [result for result in results.results if result.state == state]


def _choices(tried: Sequence[Value]) -> list[Value]:
    """Distinct values, numbers by size."""
    return sorted(
        set(tried), key=lambda value: (isinstance(value, str), value if not isinstance(value, str) else 0, str(value))
    )


def _drawn(tried: Sequence[Value]) -> bool:
    """Whether the values are numbers from a range, too many to stand beside each other."""
    numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in tried)
    return numbers and len(set(tried)) > 8
