"""How growth is judged: what must not grow at all, and what may not grow worse than linearly."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from benchmarks.performance.section import Target

# By how much a figure may differ for nothing: what a request costs, and the exponent of what should grow linearly.
FLAT = 1.1
LINEAR = 1.1
# What is added to a cost below this part of it tells nothing of how it grows.
NOISE = 0.1

Rounds = Sequence[Sequence[float]]


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float | None:
    """1.0 where cost grows linearly from that of the first size, 2.0 where quadratically; None where it hardly grows.

    The least-squares slope of the logarithm of what a size adds to the first one's cost, over that of what it adds to
    the first size: a cost that is there at any size would otherwise hide how the rest grows. Where that shows at the
    last size alone, the least that it can be.
    """
    floor = NOISE * costs[0]
    added = [(size - sizes[0], cost - costs[0]) for size, cost in zip(sizes[1:], costs[1:], strict=True)]
    points = [(size, cost) for size, cost in added if cost > floor]
    if points == added[-1:]:
        points = [(size, floor) for size, _ in added[-2:-1]] + points
    if len(points) < 2:
        return None
    logarithms = [[math.log(value) for value in values] for values in zip(*points, strict=True)]
    return statistics.linear_regression(*logarithms).slope


def medians(rounds: Rounds) -> list[float]:
    """Of each size over the rounds."""
    return [statistics.median(values) for values in zip(*rounds, strict=True)]


def worst_ratio(rounds: Rounds) -> float:
    """The largest cost of a size as a multiple of the first one's, each the median of the rounds' quotients."""
    return max(medians([[cost / costs[0] for cost in costs] for costs in rounds])[1:])


def flat(name: str, rounds: Rounds) -> Target:
    """That no size's cost exceeds the first one's by more than noise."""
    ratio = worst_ratio(rounds)
    return Target(f"{name} does not grow (at most {FLAT} times)", f"{ratio:.2f} times", ratio <= FLAT)


def linear(name: str, sizes: Sequence[float], costs: Sequence[float]) -> Target:
    """That what is added to the first size's cost grows with what is added to that size, or less."""
    found = exponent(sizes, costs)
    measured = "hardly grows" if found is None else f"exponent {found:.2f}"
    return Target(f"{name} grows no worse than linearly (at most {LINEAR})", measured, found is None or found <= LINEAR)
