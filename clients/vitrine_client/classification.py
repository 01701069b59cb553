"""A classifier's outputs as predictions and features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from vitrine_client.errors import BadResponse
from vitrine_client.results import Prediction, TensorInfo

OUTPUTS = {"labels": TensorInfo("string", (None, None)), "scores": TensorInfo("float32", (None, None))}


def predictions_of(outputs: Mapping[str, NDArray[Any]], count: int) -> list[Prediction]:
    """One prediction for each of `count` pictures.

    Args:
        outputs: `labels`, bytes [N, K], and `scores`, floats [N, K], best first.

    Raises:
        BadResponse: one of them is missing, or they do not have these shapes and dtypes with N = `count` and K > 0.
    """
    labels, scores = (_output(outputs, name) for name in OUTPUTS)
    if labels.dtype.kind != "O" or scores.dtype.kind != "f":
        raise BadResponse(f"labels are {_kind(labels)} and scores {_kind(scores)} where strings and floats belong")
    if labels.shape != scores.shape or labels.ndim != 2 or len(labels) != count or not labels.shape[1]:
        raise BadResponse(
            f"labels of shape {labels.shape} and scores of shape {scores.shape} where ({count}, K) belongs"
        )
    return [_prediction(*row) for row in zip(labels.tolist(), scores.tolist(), strict=True)]


def features_of(outputs: Mapping[str, NDArray[Any]], count: int) -> NDArray[Any]:
    """The features [N, D] of `count` pictures: the output `features`, or the only one there is.

    Raises:
        BadResponse: there is no such output, or it does not have one row of numbers for each picture.
    """
    features = outputs.get("features", next(iter(outputs.values())) if len(outputs) == 1 else None)
    if features is None:
        raise BadResponse(f"no output 'features' among {sorted(outputs)}")
    if features.dtype.kind != "f" or features.ndim < 2 or len(features) != count:
        raise BadResponse(f"features of shape {features.shape} ({_kind(features)}) where ({count}, D) floats belong")
    return features


def _output(outputs: Mapping[str, NDArray[Any]], name: str) -> NDArray[Any]:
    if name not in outputs:
        raise BadResponse(
            f"no output {name!r} among {sorted(outputs)}: classify() needs a signature with 'labels' and 'scores', "
            "predict() takes any"
        )
    return outputs[name]


def _kind(array: NDArray[Any]) -> str:
    return "strings" if array.dtype.kind == "O" else str(array.dtype)


def _prediction(labels: list[bytes], scores: list[float]) -> Prediction:
    top = tuple((label.decode(errors="replace"), score) for label, score in zip(labels, scores, strict=True))
    return Prediction(*top[0], top)
