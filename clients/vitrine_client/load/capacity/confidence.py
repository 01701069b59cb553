"""What so many kept trials of so many say about the next one."""

from __future__ import annotations

import math
from collections.abc import Callable

CONFIDENCE = 0.95
METHOD = "Clopper and Pearson 1934, one-sided"
# Halvings of [0, 1]: far below what is ever shown.
_HALVINGS = 40


def at_least(kept: int, trials: int) -> float:
    """The least probability of keeping with which `kept` or more of `trials` are no rarer than 1 in 20.

    The exact one-sided lower bound of Clopper and Pearson (Biometrika 26, 404-413, 1934) with 95 % confidence, for
    independent trials. Where all are kept it is 0.05 ** (1 / trials), about 1 - 3 / trials where these are many.
    """
    if kept == 0:
        return 0.0
    return _crossing(lambda p: math.fsum(_binomial(k, trials, p) for k in range(kept, trials + 1)) >= 1 - CONFIDENCE)


def at_most(kept: int, trials: int) -> float:
    """The upper bound in the same way: that of missing, seen from the other side."""
    return 1.0 - at_least(trials - kept, trials)


def _binomial(k: int, n: int, p: float) -> float:
    return math.comb(n, k) * p**k * (1 - p) ** (n - k)


def _crossing(reached: Callable[[float], bool]) -> float:
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high
