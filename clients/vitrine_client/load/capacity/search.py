"""Which rate to try next, and what the trials so far say: no clock, no server, no chance in here.

The rate is doubled until a trial misses, or halved until one is kept; then the bracket is divided in the middle (of the
logarithms, as all ratios count alike) until it is narrow enough; then both its ends are repeated. A rate that the load
generator cannot offer is the upper end of a bracket just as one that the server fails at is. What a rate's trials say
depends on their numbers alone:

- it *holds* where all were kept,
- it *fails* where at least half were missed,
- it is *unsteady* where most were kept, not all: neither a rate to promise nor one to rule out,
- it is *beyond the generator* where two trials were missed with the load generator itself too late: they say nothing
  of the server. One such trial is chance, and is made again.

The capacity is the highest rate that holds below the lowest that fails; below one that is beyond the generator, it is
"at least" that. A repetition that changes what a rate is moves the bracket, down or up, and the search goes on from
there. It ends: rates between the bounds are tried only in gaps wider than the precision, and none more often than
`repeats` times, or until two of its trials were late.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

# Requests per second beyond which nobody's load generator goes.
HIGHEST_RATE = 500_000.0
# Of a miss with a late generator: as often as this is no chance.
_LATE_TRIALS = 2
# Rates are tried as they are told.
_DIGITS = 4


@dataclass(frozen=True)
class Plan:
    """Rates are requests per second.

    Attributes:
        start: the first rate.
        least, most: no rate below or above them is tried.
        precision: the ratio by which the rate that is missed may exceed the one that is kept, such as 0.05.
        repeats: how many trials of the rates at both ends of the bracket there are in the end.
    """

    start: float
    least: float
    most: float = HIGHEST_RATE
    precision: float = 0.05
    repeats: int = 3


@dataclass(frozen=True)
class Tried:
    """What became of the trials at one rate; `late` is neither: missed, with a generator that was late."""

    rate: float
    kept: int = 0
    missed: int = 0
    late: int = 0

    @property
    def trials(self) -> int:
        """Those that say something about the server."""
        return self.kept + self.missed

    @property
    def beyond_generator(self) -> bool:
        return self.late >= _LATE_TRIALS

    @property
    def fails(self) -> bool:
        return self.missed > 0 and self.missed >= self.kept

    @property
    def holds(self) -> bool:
        return self.kept > 0 and self.missed == 0 and not self.beyond_generator

    @property
    def unsteady(self) -> bool:
        return 0 < self.missed < self.kept


@dataclass(frozen=True)
class Step:
    """The next trial's rate, and why it is that one."""

    rate: float
    why: str


class Ending(Enum):
    """What a search has come to."""

    FOUND = "found"
    MOST = "kept at the highest rate that may be tried"
    GENERATOR = "the load generator is the limit"
    NEVER = "never kept"
    UNFINISHED = "unfinished"


@dataclass(frozen=True)
class Finding:
    """What is known.

    Attributes:
        low: the highest rate that holds; None where none does.
        unsteady: rates above it that were kept in most of their trials.
        high: the lowest rate that fails; None where none does.
        limit: the rate beyond the generator that is the upper end in its place, as it is no higher; else None.
    """

    ending: Ending
    low: Tried | None
    unsteady: Sequence[Tried]
    high: Tried | None
    limit: Tried | None


class Search:
    """Ask it for the `next` step, make that trial, and `add` what became of it, until there is none."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._tried: dict[float, Tried] = {}

    def add(self, rate: float, kept: bool, late: bool = False) -> None:
        """A trial at `rate`.

        Args:
            late: the generator was; a trial that was kept all the same is kept, as its being late is in the latencies.
        """
        tried = self._tried.get(rate, Tried(rate))
        if kept:
            tried = replace(tried, kept=tried.kept + 1)
        elif late:
            tried = replace(tried, late=tried.late + 1)
        else:
            tried = replace(tried, missed=tried.missed + 1)
        self._tried[rate] = tried

    def next(self) -> Step | None:
        """None where there is nothing left to try."""
        if not self._tried:
            return Step(self._plan.start, "the first")
        for tried in self._tried.values():
            if tried.trials == 0 and not tried.beyond_generator:
                return Step(tried.rate, "again, as the load generator was late")
        low, unsteady, end = self._bracket()
        return self._outwards(low, end) or self._inwards(low, unsteady, end) or self._again(low, end)

    def finding(self) -> Finding:
        low, unsteady, end = self._bracket()
        limit = end if end is not None and end.beyond_generator else None
        if not self._tried or self.next() is not None:
            ending = Ending.UNFINISHED
        elif limit is not None:
            ending = Ending.GENERATOR
        elif low is None:
            ending = Ending.NEVER
        elif end is None and not unsteady:
            ending = Ending.MOST
        else:
            ending = Ending.FOUND
        return Finding(ending, low, unsteady, next((tried for tried in self._sorted() if tried.fails), None), limit)

    def _sorted(self) -> list[Tried]:
        return [self._tried[rate] for rate in sorted(self._tried)]

    def _bracket(self) -> tuple[Tried | None, list[Tried], Tried | None]:
        """Its lower end, what is unsteady in it, and its upper end: the lowest rate that ends it."""
        rates = self._sorted()
        end = next((tried for tried in rates if tried.fails or tried.beyond_generator), None)
        below = [tried for tried in rates if end is None or tried.rate < end.rate]
        low = next((tried for tried in reversed(below) if tried.holds), None)
        unsteady = [tried for tried in below if tried.unsteady and (low is None or tried.rate > low.rate)]
        return low, unsteady, end

    def _outwards(self, low: Tried | None, end: Tried | None) -> Step | None:
        top, bottom = max(self._tried), min(self._tried)
        if end is None and top < self._plan.most:
            return Step(min(_rounded(top * 2), self._plan.most), "doubled")
        if low is None and bottom > self._plan.least:
            return Step(max(_rounded(bottom / 2), self._plan.least), "halved")
        return None

    def _inwards(self, low: Tried | None, unsteady: Sequence[Tried], end: Tried | None) -> Step | None:
        """Between two neighbours in the bracket that are too far apart, the upper ones first."""
        marks = [tried for tried in (low, *unsteady, end) if tried is not None]
        for below, above in reversed(list(itertools.pairwise(marks))):
            if above.rate > below.rate * (1 + self._plan.precision) * (1 + 1e-9):
                return Step(_rounded(math.sqrt(below.rate * above.rate)), "between")
        return None

    def _again(self, low: Tried | None, end: Tried | None) -> Step | None:
        """The lower end first: one miss is enough to move it. The generator's limit was tried twice already."""
        if low is not None and low.trials < self._plan.repeats:
            return Step(low.rate, "again, to confirm that it is kept")
        if end is not None and end.trials < self._plan.repeats and not end.beyond_generator:
            return Step(end.rate, "again, to confirm that it is missed")
        return None


def _rounded(rate: float) -> float:
    return float(f"{rate:.{_DIGITS}g}")
