"""The figures and answers as CSV files: UTF-8, a header line, shares in [0, 1]."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from vitrine_export.evaluation.predictions import Predictions

_TOP = 5
# A spreadsheet runs a cell that begins so as a formula: OWASP, "CSV Injection".
_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")


def write_tables(predictions: Predictions, figures: dict[str, Any], mistakes: Sequence[int], folder: Path) -> None:
    """predictions.csv, mistakes.csv (the pictures at `mistakes`), per_class.csv and confusion_matrix.csv.

    A label or path that a spreadsheet would run as a formula has an apostrophe in front.
    """
    labels, count = predictions.labels, min(_TOP, len(predictions.labels))
    header = ["path", "truth", "predicted", "score", "truth_score", "correct"]
    header += [f"{name}_{place}" for place in range(2, count + 1) for name in ("top", "score")]

    def answers(positions: Iterable[int]) -> Iterable[Sequence[object]]:
        for position in positions:
            picture, truth = predictions.pictures[position], predictions.truth[position]
            (label, score), *others = predictions.top(position, count)
            of_truth = predictions.probabilities[position, truth]
            correct = "yes" if label == picture.label else "no"
            rest = [cell for name, share in others for cell in (name, _share(share))]
            yield [picture.path, picture.label, label, _share(score), _share(of_truth), correct, *rest]

    _write(folder / "predictions.csv", header, answers(range(len(predictions.pictures))))
    _write(folder / "mistakes.csv", header, answers(mistakes))
    _write(
        folder / "per_class.csv",
        ["class", "precision", "recall", "f1", "pictures"],
        (
            [label, *(_share(row[name]) for name in ("precision", "recall", "f1")), row["pictures"]]
            for label, row in figures["per_class"].items()
        ),
    )
    rows = zip(labels, figures["confusion_matrix"], strict=True)
    _write(folder / "confusion_matrix.csv", ["truth", *labels], ([label, *row] for label, row in rows))


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(map(_safe, header))
        writer.writerows([_safe(cell) for cell in row] for row in rows)


def _safe(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and cell.lstrip(" ").startswith(_FORMULA) else cell


def _share(value: float) -> str:
    return f"{value:.6f}"
