"""What was measured of a candidate, and what it is worth."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from vitrine_client.load.slo import Objective
from vitrine_serving.tune.candidates import Candidate

Standing = tuple[bool, float]


@dataclass(frozen=True)
class Point:
    """One load on one server.

    Attributes:
        concurrency: users of a closed loop, each with one request under way.
        seconds: counted, after the warm-up.
        requests_per_second: good answers.
        latency_ms: by name (`mean`, `p50`, `p90`, `p99`, `p99.9`, `max`), of good answers; None without any.
        errors: failed requests by kind.
        kept: every objective was; without an objective on errors, no request failed either.
        excess: by what factor the worst objective was missed, or kept where it is below 1; 0 without objectives.
    """

    concurrency: int
    seconds: float
    requests_per_second: float
    latency_ms: Mapping[str, float | None]
    errors: Mapping[str, int]
    kept: bool
    excess: float

    @classmethod
    def of(cls, result: Mapping[str, Any], concurrency: int, objectives: Sequence[Objective]) -> Point:
        """Of a result.json, whose `slo` are `objectives`."""
        figures = result["all"]
        pairs = list(zip(objectives, result["slo"], strict=True))
        tolerated = not figures["errors"] or any(objective.metric == "errors" for objective in objectives)
        return cls(
            concurrency,
            result["seconds"],
            figures["requests_per_second"],
            figures["latency_ms"],
            figures["errors"],
            figures["answered"] > 0 and tolerated and all(one["kept"] for _, one in pairs),
            max((_excess(objective, one["measured"]) for objective, one in pairs), default=0.0),
        )


@dataclass(frozen=True)
class Visit:
    """A candidate's server, started once and asked at one or more concurrencies.

    Attributes:
        stage: `present`, `round 1` and on, or `final 1` and on.
        points: from the highest concurrency down, as far as it was asked.
        failure: why it is out: it could not be started, or requests failed; None for a whole visit.
    """

    candidate: Candidate
    stage: str
    points: tuple[Point, ...]
    failure: str | None = None

    @property
    def best(self) -> Point | None:
        """At the highest concurrency that keeps the objectives."""
        return next((point for point in self.points if point.kept), None)

    @property
    def score(self) -> float:
        """Answers per second there; 0 where none keeps them."""
        return self.best.requests_per_second if self.best else 0.0

    @property
    def standing(self) -> Standing:
        """Greater is better: by score, and of those that keep the objectives nowhere, who misses them by less."""
        if self.best is not None:
            return True, self.score
        return False, -min((point.excess for point in self.points), default=math.inf)

    def to_json(self) -> dict[str, Any]:
        return {
            "stage": self.stage,
            "candidate": self.candidate.to_json(),
            "failure": self.failure,
            "points": [asdict(point) | {"excess": _finite(point.excess)} for point in self.points],
        }


def _excess(objective: Objective, measured: float | None) -> float:
    if measured is None:
        return math.inf
    above, below = (measured, objective.limit) if objective.comparison.startswith("<") else (objective.limit, measured)
    if below == 0:
        return 0.0 if above == 0 else math.inf
    return above / below


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None
