"""Calibration against values worked out by hand and networks whose right temperature is known."""

from __future__ import annotations

import numpy as np
import pytest

from vitrine_export.evaluation.calibration import (
    brier_score,
    cross_entropy,
    expected_calibration_error,
    fit_temperature,
    reliability,
)
from vitrine_export.evaluation.predictions import softmax


def two_classes(scores: list[float]) -> np.ndarray:
    """Answers that are all class 0 with these scores."""
    return np.array([[score, 1 - score] for score in scores], np.float32)


def test_confidence_and_accuracy_of_each_step() -> None:
    groups = reliability(two_classes([0.9, 0.92, 0.6]), np.array([0, 1, 0]))
    assert [(group["pictures"], group["accuracy"]) for group in groups] == [(1, 1.0), (2, 0.5)]
    assert [group["confidence"] for group in groups] == pytest.approx([0.6, 0.91])
    # By hand: (1 * |1 - 0.6| + 2 * |0.5 - 0.91|) / 3.
    assert expected_calibration_error(groups) == pytest.approx((0.4 + 2 * 0.41) / 3)


def test_a_score_of_one_belongs_to_the_last_step() -> None:
    (group,) = reliability(two_classes([1.0]), np.array([0]))
    assert group == {"low": pytest.approx(14 / 15), "high": 1.0, "pictures": 1, "confidence": 1.0, "accuracy": 1.0}


def test_brier_score_and_cross_entropy_by_hand() -> None:
    answers, truth = two_classes([0.8, 0.6]), np.array([0, 1])
    assert brier_score(answers, truth) == pytest.approx((2 * 0.2**2 + 2 * 0.6**2) / 2)
    assert cross_entropy(answers, truth) == pytest.approx(-(np.log(0.8) + np.log(0.4)) / 2)
    assert brier_score(two_classes([0.0]), np.array([0])) == 2
    assert np.isfinite(cross_entropy(two_classes([0.0]), np.array([0])))


@pytest.mark.parametrize("factor", [0.4, 1.0, 3.0])
def test_the_temperature_undoes_what_scaled_the_logits(factor: float) -> None:
    random = np.random.default_rng(7)
    honest = random.normal(0, 2, (8000, 5)).astype(np.float32)
    truth = np.array([random.choice(5, p=row / row.sum()) for row in softmax(honest).astype(np.float64)])
    logits = honest * np.float32(factor)
    temperature = fit_temperature(logits, truth)
    assert temperature == pytest.approx(factor, rel=0.05)
    lowest = cross_entropy(softmax(logits / np.float32(temperature)), truth)
    for other in (0.9, 1.1):
        assert cross_entropy(softmax(logits / np.float32(temperature * other)), truth) > lowest
    error = expected_calibration_error(reliability(softmax(logits / np.float32(temperature)), truth))
    assert error < 0.02
    if factor != 1.0:
        assert expected_calibration_error(reliability(softmax(logits), truth)) > 0.08


def test_no_temperature_where_none_is_best() -> None:
    logits = np.array([[5.0, 0.0], [0.0, 3.0]], np.float32)
    assert fit_temperature(logits, np.array([0, 1])) == 1.0, "all are right: ever colder would be ever better"
    assert fit_temperature(logits, np.array([1, 0])) == 1.0, "all are wrong: ever hotter would be ever better"
    assert fit_temperature(np.zeros((3, 2), np.float32), np.array([0, 1, 0])) == 1.0
