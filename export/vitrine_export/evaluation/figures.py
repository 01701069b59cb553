"""The figures of an evaluation, as JSON-ready values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from vitrine_export.evaluation import calibration
from vitrine_export.evaluation.predictions import Predictions, softmax

# The two-sided 95 % point of the normal distribution.
_Z = 1.959964


def figures_of(predictions: Predictions) -> dict[str, Any]:
    """How good the answers are.

    `accuracy`, `top_5_accuracy` (for more than five classes) and the per-class `precision`, `recall` and `f1` are
    shares in [0, 1]; `accuracy_interval` holds the true accuracy with 95 % confidence (Wilson's score interval);
    `macro_f1` is the mean over the classes that have pictures; `loss` is the cross-entropy in nats; `brier`, `ece`
    and `reliability` are described in calibration.py; `confusion_matrix` has a row per true and a column per
    predicted class, in the order of the labels.
    """
    truth, predicted, probabilities = predictions.truth, predictions.predicted, predictions.probabilities
    classes = np.arange(len(predictions.labels))
    precision, recall, f1, support = precision_recall_fscore_support(truth, predicted, labels=classes, zero_division=0)
    right = int((predicted == truth).sum())
    groups = calibration.reliability(probabilities, truth)
    figures: dict[str, Any] = {
        "pictures": len(truth),
        "accuracy": right / len(truth),
        "accuracy_interval": list(wilson_interval(right, len(truth))),
    }
    if len(classes) > 5:
        figures["top_5_accuracy"] = top_accuracy(predictions, 5)
    return figures | {
        "loss": calibration.cross_entropy(probabilities, truth),
        "macro_f1": float(f1[support > 0].mean()),
        "brier": calibration.brier_score(probabilities, truth),
        "ece": calibration.expected_calibration_error(groups),
        "reliability": groups,
        "per_class": {
            label: {
                "precision": float(precision[number]),
                "recall": float(recall[number]),
                "f1": float(f1[number]),
                "pictures": int(support[number]),
            }
            for number, label in enumerate(predictions.labels)
        },
        "confusion_matrix": confusion_matrix(truth, predicted, labels=classes).tolist(),
    }


def temperature_of(validation: Predictions, test: Predictions) -> dict[str, Any]:
    """The temperature fitted on `validation`, and what it changes on `test`: `ece` and cross-entropy (`nll`)."""
    value = calibration.fit_temperature(validation.logits, validation.truth)
    scaled = softmax(test.logits / np.float32(value))
    before, after = (calibration.reliability(answers, test.truth) for answers in (test.probabilities, scaled))
    return {
        "value": value,
        "fitted_on": "validation",
        "pictures": len(validation.pictures),
        "ece_before": calibration.expected_calibration_error(before),
        "ece_after": calibration.expected_calibration_error(after),
        "nll_before": calibration.cross_entropy(test.probabilities, test.truth),
        "nll_after": calibration.cross_entropy(scaled, test.truth),
        "reliability_after": after,
    }


def top_accuracy(predictions: Predictions, count: int) -> float:
    """The share of pictures whose true class is among the `count` most probable ones."""
    rows = np.arange(len(predictions.truth))
    of_truth = predictions.probabilities[rows, predictions.truth]
    # The answer is the first of equals, so a class is ahead also by its number where scores are equal.
    equal = (predictions.probabilities == of_truth[:, None]) & (
        np.arange(len(predictions.labels)) < predictions.truth[:, None]
    )
    ahead = (predictions.probabilities > of_truth[:, None]).sum(axis=1) + equal.sum(axis=1)
    return float((ahead < count).mean())


def wilson_interval(right: int, pictures: int) -> tuple[float, float]:
    """Bounds that hold the true share with 95 % confidence; Wilson, "Probable inference", 1927."""
    share, spread = right / pictures, _Z**2 / pictures
    centre = share + spread / 2
    half = _Z * math.sqrt(share * (1 - share) / pictures + spread / (4 * pictures))
    return max(0.0, (centre - half) / (1 + spread)), min(1.0, (centre + half) / (1 + spread))
