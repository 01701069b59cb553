"""The whole search: the present configuration first, as many candidates as there is time for, then the final."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from vitrine_serving.errors import CommandError
from vitrine_serving.tune.candidates import Candidate
from vitrine_serving.tune.choosing import Finalist
from vitrine_serving.tune.halving import FINAL_FACTOR, FINALISTS, halve, interleaved, rounds
from vitrine_serving.tune.measuring import Bench
from vitrine_serving.tune.visits import Standing, Visit


@dataclass
class Search:
    """What was found so far stays in it when `run` is interrupted.

    Attributes:
        grid: the candidates beside `present`.
        seconds: of the first round's measurements.
        budget: seconds that all may take, about.
        repeats: of each finalist's measurements.
        left_out: candidates of the grid for which there is no time.
        finalists: after the final, the present configuration first.
    """

    bench: Bench
    present: Candidate
    grid: Sequence[Candidate]
    seconds: int
    budget: float
    repeats: int
    visits: list[Visit] = field(default_factory=list)
    left_out: int = 0
    finalists: list[Finalist] = field(default_factory=list)
    _begin: float = field(default_factory=time.monotonic)
    _planned: int = 0

    def run(self) -> None:
        """Raises CommandError where the present configuration cannot be served, or answers nothing."""
        first = self._visit(self.present, "present", self.seconds, everywhere=False)
        if not any(point.requests_per_second for point in first.points):
            raise CommandError(
                f"the present configuration cannot be measured: {first.failure or 'nothing was answered'}"
            )
        candidates = self._affordable()
        self._planned = 1 + sum(number for number, _ in rounds(len(candidates), self.seconds))
        self._planned += (1 + min(FINALISTS, len(candidates))) * self.repeats
        self._final(halve(candidates, self.seconds, self._measure))

    def _affordable(self) -> list[Candidate]:
        """What the budget has time for: a random sample of the grid, as Hyperband draws it (Li et al. 2018)."""
        left = self.budget - (time.monotonic() - self._begin)
        number = max((n for n in range(1, len(self.grid) + 1) if self._cost(n) <= left), default=1)
        number = min(number, len(self.grid))
        self.left_out = len(self.grid) - number
        if self.left_out:
            _say(f"the budget has time for {number} of {len(self.grid)} candidates, drawn at random; --budget sets it")
        drawn = random.Random(0).sample(range(len(self.grid)), number)  # noqa: S311 - always the same draw, no secret
        return [self.grid[place] for place in sorted(drawn)]

    def _cost(self, number: int) -> float:
        """Seconds for so many candidates and the final."""
        before = sum(count * self.bench.seconds_of(seconds, False) for count, seconds in rounds(number, self.seconds))
        return before + (1 + min(FINALISTS, number)) * self._final_seconds()

    def _final_seconds(self) -> float:
        """For one finalist, which is asked at all concurrencies once."""
        seconds = FINAL_FACTOR * self.seconds
        return self.bench.seconds_of(seconds, True) + (self.repeats - 1) * self.bench.seconds_of(seconds, False)

    def _measure(self, candidate: Candidate, number: int, seconds: int) -> Standing | None:
        visit = self._visit(candidate, f"round {number}", seconds, everywhere=False)
        return None if visit.failure else visit.standing

    def _final(self, others: Sequence[Candidate]) -> None:
        scores: dict[Candidate, list[float]] = {self.present: [], **{candidate: [] for candidate in others}}
        self._planned = len(self.visits) + len(scores) * self.repeats
        out = set()
        for repeat, candidate in interleaved(list(scores), self.repeats):
            if candidate in out:
                continue
            # The curve over all concurrencies is for the plot; the score does not need it.
            visit = self._visit(candidate, f"final {repeat}", FINAL_FACTOR * self.seconds, everywhere=repeat == 1)
            scores[candidate].append(visit.score)
            if visit.failure and candidate != self.present:
                out.add(candidate)
        self.finalists = [
            Finalist(candidate, tuple(found)) for candidate, found in scores.items() if candidate not in out
        ]

    def _visit(self, candidate: Candidate, stage: str, seconds: int, everywhere: bool) -> Visit:
        visit = self.bench.visit(candidate, stage, seconds, everywhere)
        self.visits.append(visit)
        _say(f"{self._place()} {stage:>8}  {candidate}: {_came_to(visit)}{self._time_left(seconds)}")
        return visit

    def _place(self) -> str:
        return f"[{len(self.visits):>2}/{self._planned or '?'}]"

    def _time_left(self, seconds: int) -> str:
        visits = self._planned - len(self.visits)
        if visits <= 0:
            return ""
        minutes = visits * self.bench.seconds_of(seconds, everywhere=False) / 60
        return f"; about {minutes:.0f} min left" if minutes >= 1 else "; less than a minute left"


def _came_to(visit: Visit) -> str:
    if visit.failure:
        return f"out: {visit.failure}"
    point = visit.best or visit.points[-1]
    p99 = point.latency_ms["p99"]
    failed = f", {sum(point.errors.values())} failed" if point.errors else ""
    missed = "" if visit.best else ", which misses the objective"
    latency = "" if p99 is None else f", p99 {p99:.1f} ms"
    return f"{point.requests_per_second:.1f}/s{latency} with {point.concurrency} at once{failed}{missed}"


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
