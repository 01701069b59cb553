"""Whether scores can be taken for probabilities, and the temperature that makes them so.

Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks", ICML 2017, for all but the Brier score
(Brier, "Verification of forecasts expressed in terms of probability", 1950).
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
BINS = 15
# exp(-1 / HOTTEST) and exp(-1 / COLDEST) are as good as 1 and 0: beyond them nothing changes.
_COLDEST, _HOTTEST = 1e-2, 1e2


def reliability(probabilities: Array, truth: Array, bins: int = BINS) -> list[dict[str, float]]:
    """Answers grouped by their score into `bins` equal steps of [0, 1]; steps without answers are left out.

    Each group has its step's `low` and `high`, how many `pictures`, their mean `confidence` (the answer's score) and
    their `accuracy`. Where scores are honest, the last two are equal.
    """
    scores, right = probabilities.max(axis=1).astype(np.float64), probabilities.argmax(axis=1) == truth
    edges = np.linspace(0, 1, bins + 1)
    # A score on an edge belongs to the step below it, as in the paper; 0 cannot be the highest of its row.
    numbers = np.clip(np.searchsorted(edges, scores, side="left") - 1, 0, bins - 1)
    return [
        {
            "low": float(edges[number]),
            "high": float(edges[number + 1]),
            "pictures": int(members.sum()),
            "confidence": float(scores[members].mean()),
            "accuracy": float(right[members].mean()),
        }
        for number in range(bins)
        if (members := numbers == number).any()
    ]


def expected_calibration_error(groups: list[dict[str, float]]) -> float:
    """Mean distance between confidence and accuracy, weighted by pictures: 0 is honest, 1 the worst."""
    pictures = sum(group["pictures"] for group in groups)
    return sum(group["pictures"] / pictures * abs(group["accuracy"] - group["confidence"]) for group in groups)


def brier_score(probabilities: Array, truth: Array) -> float:
    """Mean squared distance to the truth, summed over the classes: 0 is perfect, 2 the worst."""
    distance = probabilities.astype(np.float64)
    distance[np.arange(len(truth)), truth] -= 1
    return float((distance**2).sum(axis=1).mean())


def cross_entropy(probabilities: Array, truth: Array) -> float:
    """Mean negative logarithm of the true class's probability, in nats."""
    of_truth = probabilities[np.arange(len(truth)), truth].astype(np.float64)
    return float(-np.log(np.maximum(of_truth, 1e-12)).mean())


def fit_temperature(logits: Array, truth: Array) -> float:
    """The number to divide logits [pictures, classes] by, so that the cross-entropy of `truth` is lowest.

    1 where there is no such number: if every answer is right, ever colder is ever better, and if answers are no
    better than chance, ever hotter.
    """
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=1, keepdims=True)
    of_truth = shifted[np.arange(len(truth)), truth].mean()

    def slope(inverse: float) -> float:
        """Of the cross-entropy over 1 / temperature: it only ever rises, so the minimum is where it crosses zero."""
        weights = np.exp(shifted * inverse)
        return float(((weights * shifted).sum(axis=1) / weights.sum(axis=1)).mean() - of_truth)

    low, high = 1 / _HOTTEST, 1 / _COLDEST
    if slope(low) >= 0 or slope(high) <= 0:
        return 1.0
    while high / low > 1 + 1e-9:
        middle = float(np.sqrt(low * high))
        low, high = (low, middle) if slope(middle) > 0 else (middle, high)
    return 1 / low
