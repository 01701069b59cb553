"""What came of a search: one result per trial, the best of them, and the files that tell of it."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from vitrine_export.recipe import Recipe
from vitrine_export.runs import write_json
from vitrine_export.search.space import Value

State = Literal["complete", "pruned", "failed"]
_STATES: tuple[State, ...] = ("complete", "pruned", "failed")


@dataclass(frozen=True)
class Result:
    """One finished trial."""

    trial: int
    """From 0, in the order in which the trials were begun."""
    state: State
    values: Mapping[str, Value]
    """What was tried, by the entries of `search.space`."""
    curve: Sequence[float]
    """The metric after each epoch."""
    value: float | None
    """The best of `curve`; None where no epoch was finished."""
    epoch: int | None
    """When that was, from 1."""
    seconds: float
    reason: str = ""
    """Why it failed or was pruned."""


@dataclass(frozen=True)
class Results:
    """The finished trials of one search."""

    metric: str
    names: tuple[str, ...]
    """The entries of `search.space`."""
    results: tuple[Result, ...]
    """In the order of their numbers."""

    def better(self, one: float, other: float) -> bool:
        return one < other if self.metric == "val_loss" else one > other

    def best(self) -> Result | None:
        """Of the complete ones, the first with the lowest loss or the highest accuracy."""
        complete = [result for result in self.ranked() if result.state == "complete"]
        return complete[0] if complete else None

    def ranked(self) -> list[Result]:
        """Best first; pruned and failed trials after all complete ones."""
        sign = 1 if self.metric == "val_loss" else -1

        def rank(result: Result) -> tuple[int, float, int]:
            value = math.inf if result.value is None else sign * result.value
            return _STATES.index(result.state), value, result.trial

        return sorted(self.results, key=rank)

    @property
    def headers(self) -> tuple[str, ...]:
        return ("trial", "state", self.metric, "epoch", *self.names, "seconds", "reason")

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """A table of all trials as text, best first, under `headers`."""
        return [
            (
                str(result.trial),
                result.state,
                "" if result.value is None else f"{result.value:.4f}",
                "" if result.epoch is None else f"{result.epoch}/{len(result.curve)}",
                *(shown(result.values.get(name)) for name in self.names),
                f"{result.seconds:.1f}",
                result.reason.splitlines()[0] if result.reason else "",
            )
            for result in self.ranked()
        ]

    def counts(self) -> str:
        """Such as "25 complete, 1 pruned, 1 failed"."""
        counted = {state: sum(result.state == state for result in self.results) for state in _STATES}
        return ", ".join(f"{count} {state}" for state, count in counted.items() if count)

    def as_json(self) -> dict[str, Any]:
        best = self.best()
        return {
            "metric": self.metric,
            "best": None if best is None else best.trial,
            "trials": [asdict(result) for result in self.ranked()],
        }

    def write(self, folder: Path) -> None:
        """trials.csv and trials.json; after every trial, so they can be looked at while the search goes on."""
        write_json(folder / "trials.json", self.as_json())
        staging = folder / ".trials.csv.new"
        with staging.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("trial", "state", self.metric, "epoch", "epochs", *self.names, "seconds", "reason"))
            for result in self.ranked():
                tried = [result.values.get(name, "") for name in self.names]
                figures = (result.trial, result.state, result.value, result.epoch, len(result.curve))
                writer.writerow((*figures, *tried, f"{result.seconds:.3f}", result.reason))
        staging.replace(folder / "trials.csv")


@dataclass(frozen=True)
class Outcome:
    """A search that is done."""

    folder: Path
    """Holds trials.csv, trials.json, summary.md and the pictures."""
    results: Results
    best: Result
    winner: Recipe
    """The recipe with the best trial's values and without its search section."""

    @property
    def headers(self) -> tuple[str, ...]:
        return self.results.headers

    @property
    def rows(self) -> list[tuple[str, ...]]:
        return self.results.rows

    def as_json(self) -> dict[str, Any]:
        return self.results.as_json()

    def write(self, pictures: Sequence[str]) -> None:
        """summary.md, which shows the files `pictures` of the same folder."""
        best, metric = self.best, self.results.metric
        lines = [
            f"# Search: {self.winner.name}",
            "",
            f"{len(self.results.results)} trials: {self.results.counts()}. The best is trial {best.trial} with "
            f"{metric} {best.value:.4f} in epoch {best.epoch}:",
            "",
            *(f"- {name}: {shown(value)}" for name, value in best.values.items()),
            "",
            _markdown_row(self.headers),
            _markdown_row(["---"] * len(self.headers)),
            *map(_markdown_row, self.rows),
            "",
            *(f"![{Path(name).stem}]({name})\n" for name in pictures),
        ]
        (self.folder / "summary.md").write_text("\n".join(lines), encoding="utf-8")


def shown(value: Value | None) -> str:
    """A value as people write it: four digits of a drawn number are enough."""
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
