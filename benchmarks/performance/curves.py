"""What becomes of many rounds' figures: spreads, verdicts, and throughput at a given 99th percentile."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

# All of five rounds on one side come about by chance once in 16 times; of fewer, too often to mean anything.
ENOUGH_ROUNDS = 5


@dataclass(frozen=True)
class Point:
    """A closed loop of so many clients; latencies in milliseconds, throughput in good answers a second."""

    concurrency: int
    throughput: float
    p50: float
    p99: float
    failed: int


@dataclass(frozen=True)
class Spread:
    """The median of the rounds, and the lowest and highest of them."""

    median: float
    low: float
    high: float

    def text(self, digits: int = 0) -> str:
        return f"{self.median:.{digits}f} ({self.low:.{digits}f}–{self.high:.{digits}f})"  # noqa: RUF001


def spread(values: Sequence[float]) -> Spread:
    return Spread(statistics.median(values), min(values), max(values))


def percentile(seconds: Sequence[float], percent: int) -> float:
    """In milliseconds, by the nearest rank: a latency that was measured. Raises ValueError where there is none."""
    if not seconds:
        raise ValueError("no request was answered")
    ordered = sorted(seconds)
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(0, rank - 1)] * 1e3


def throughput_at(points: Sequence[Point], p99: float) -> float | None:
    """The highest throughput at which the 99th percentile is at most `p99` milliseconds; None where it never is.

    The curve is the line through the points in order of their concurrency, linear in between.
    """
    ordered = sorted(points, key=lambda point: point.concurrency)
    reached = [point.throughput for point in ordered if point.p99 <= p99]
    for one, other in pairwise(ordered):
        low, high = sorted((one, other), key=lambda point: point.p99)
        if low.p99 <= p99 < high.p99:
            share = (p99 - low.p99) / (high.p99 - low.p99)
            reached.append(low.throughput + share * (high.throughput - low.throughput))
    return max(reached, default=None)


def ratios(ours: Mapping[int, float], theirs: Mapping[int, float]) -> list[float]:
    """Ours by theirs in each round that has both."""
    return [ours[number] / theirs[number] for number in sorted(ours.keys() & theirs.keys()) if theirs[number]]


def verdict(found: Sequence[float], more_is_better: bool = True) -> str:
    """ahead or behind where every round's ratio says so, a tie where they do not agree."""
    if len(found) < ENOUGH_ROUNDS:
        return f"undecided: {len(found)} of at least {ENOUGH_ROUNDS} rounds"
    if min(found) > 1:
        return "ahead" if more_is_better else "behind"
    if max(found) < 1:
        return "behind" if more_is_better else "ahead"
    return "tie"


def kept(verdict_text: str) -> bool | None:
    """Whether that is ahead; None where too few rounds were measured to say."""
    return None if verdict_text.startswith("undecided") else verdict_text == "ahead"
