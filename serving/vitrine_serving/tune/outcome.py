"""All that a search came to, for the files and the report."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from vitrine_client.load.slo import LATENCIES, Objective
from vitrine_serving.tune.candidates import Candidate
from vitrine_serving.tune.choosing import Choice, Finalist, choose
from vitrine_serving.tune.visits import Point, Visit

FORMAT = "vitrine-tune-1"
_FINAL = "final"


@dataclass(frozen=True)
class Spot:
    """A candidate at one concurrency: answers per second, and the latency that the objective is about, in ms."""

    concurrency: int
    requests_per_second: float
    latency_ms: float | None
    kept: bool


@dataclass(frozen=True)
class Outcome:
    """See `to_json`.

    Attributes:
        finalists: the present configuration first; none before the final is over.
        left_out: candidates for which there was no time.
    """

    model: str
    version: int
    engine: str
    cpus: int
    slo: str
    objectives: Sequence[Objective]
    concurrencies: Sequence[int]
    present: Candidate
    visits: Sequence[Visit]
    finalists: Sequence[Finalist]
    left_out: int
    interrupted: bool

    @cached_property
    def choice(self) -> Choice | None:
        """None where the final was not run, or nobody keeps the objectives."""
        return choose(self.finalists[0], self.finalists[1:]) if self.finalists else None

    @property
    def latency(self) -> str:
        """The latency that matters: of the first objective on one, else p99."""
        return next((one.metric for one in self.objectives if one.metric in LATENCIES), "p99")

    def candidates(self) -> list[Candidate]:
        """Those that were visited, in the order of their first visit."""
        return list(dict.fromkeys(visit.candidate for visit in self.visits))

    def failure(self, candidate: Candidate) -> str | None:
        return next((visit.failure for visit in self.visits if visit.candidate == candidate and visit.failure), None)

    def spots(self, candidate: Candidate) -> list[Spot]:
        """By rising concurrency: medians of the final's repeats; of the last visit where it was not in the final."""
        visits = [visit for visit in self.visits if visit.candidate == candidate]
        chosen = [visit for visit in visits if visit.stage.startswith(_FINAL)] or visits[-1:]
        found = []
        for concurrency in sorted(self.concurrencies):
            points = [point for visit in chosen for point in visit.points if point.concurrency == concurrency]
            if points:
                found.append(self._spot(concurrency, points))
        return found

    def _spot(self, concurrency: int, points: Sequence[Point]) -> Spot:
        latencies = [latency for point in points if (latency := point.latency_ms[self.latency]) is not None]
        return Spot(
            concurrency,
            statistics.median(point.requests_per_second for point in points),
            statistics.median(latencies) if latencies else None,
            statistics.median(point.kept for point in points) > 0.5,
        )

    def to_json(self) -> dict[str, Any]:
        choice = self.choice
        return {
            "format": FORMAT,
            "model": self.model,
            "version": self.version,
            "engine": self.engine,
            "cpus": self.cpus,
            "slo": self.slo,
            "concurrencies": sorted(self.concurrencies),
            "interrupted": self.interrupted,
            "left_out": self.left_out,
            "present": self.present.to_json(),
            "winner": choice.winner.candidate.to_json() if choice else None,
            "keep_present": choice.keeps_present if choice else None,
            "ratio": choice.ratio if choice else None,
            "finalists": [finalist.to_json() for finalist in self.finalists],
            "visits": [visit.to_json() for visit in self.visits],
        }
