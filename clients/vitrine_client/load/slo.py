"""Objectives such as `p99<80ms,errors<0.1%,rps>50`: read, and held against what was measured."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from vitrine_client.errors import InvalidInput

LATENCIES = ("mean", "p50", "p90", "p99", "p99.9", "max")
_EXAMPLE = "such as p99<80ms,errors<0.1%,rps>50"
_OBJECTIVE = re.compile(r"(?:(grpc|rest)\.)?([a-z][a-z0-9.]*)\s*(<=|>=|<|>)\s*(\d+(?:\.\d+)?)\s*(us|ms|s|%)?")
_COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


@dataclass(frozen=True)
class Objective:
    """One of them.

    Attributes:
        text: as it was written, without spaces.
        transport: `grpc` or `rest` for one kind of user; None for all together.
        metric: one of LATENCIES (in seconds), `errors` (a ratio) or `rps` (good answers per second).
    """

    text: str
    transport: str | None
    metric: str
    comparison: str
    limit: float

    def kept(self, measured: float | None) -> bool:
        """What was not measured is not kept."""
        return measured is not None and _COMPARISONS[self.comparison](measured, self.limit)


def parse(text: str) -> list[Objective]:
    """Raises InvalidInput for what is none, or for a unit that does not belong to the metric."""
    return [_objective(part.strip()) for part in text.split(",")]


def _objective(text: str) -> Objective:
    found = _OBJECTIVE.fullmatch(text.lower())
    if not found:
        raise InvalidInput(f"--slo: {text!r} is no objective, {_EXAMPLE}")
    transport, metric, comparison, number, unit = found.groups()
    limit = float(number)
    if metric in LATENCIES:
        if unit not in _SECONDS:
            raise InvalidInput(f"--slo: {text!r}: a latency needs us, ms or s, {_EXAMPLE}")
        limit *= _SECONDS[unit]
    elif metric == "errors":
        if unit != "%":
            raise InvalidInput(f"--slo: {text!r}: errors are in %, {_EXAMPLE}")
        limit /= 100
    elif metric != "rps":
        raise InvalidInput(f"--slo: {text!r}: {metric!r} is none of {', '.join((*LATENCIES, 'errors', 'rps'))}")
    elif unit:
        raise InvalidInput(f"--slo: {text!r}: requests per second have no unit, {_EXAMPLE}")
    return Objective(re.sub(r"\s", "", text), transport, metric, comparison, limit)
