"""Golden pictures: test pictures kept inside a version, with the answers that any copy of it must give."""

from __future__ import annotations

import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from vitrine_export.datasets.index import DatasetIndex, Picture

FOLDER = "assets.extra/golden"
# Serving batches differently from training, and the sums of a batch are taken in another order.
TOLERANCE = 1e-5


class Golden(TypedDict):
    file: str
    """Relative to the version's folder."""
    source: str
    """The picture's path in the data set, with forward slashes."""
    label: str
    """The true label."""
    probabilities: list[float]
    """The trained network's answer, in the order of labels.txt."""


def choose(index: DatasetIndex, count: int) -> list[Picture]:
    """`count` test pictures, or all there are, taking turns between the classes."""
    by_class: dict[str, list[Picture]] = defaultdict(list)
    for picture in sorted(index.split("test"), key=lambda picture: picture.sha256):
        by_class[picture.label].append(picture)
    turns = sorted((turn, label) for label, found in by_class.items() for turn in range(len(found)))
    return [by_class[label][turn] for turn, label in turns[:count]]


def write(
    version: Path,
    index: DatasetIndex,
    pictures: list[Picture],
    probabilities: np.ndarray[Any, np.dtype[np.float32]],
) -> list[Golden]:
    """Copy `pictures` into the version's folder; `probabilities` is float32 [len(pictures), classes]."""
    folder = version / FOLDER
    folder.mkdir(parents=True)
    entries: list[Golden] = []
    for number, (picture, row) in enumerate(zip(pictures, probabilities, strict=True)):
        source = index.file(picture)
        name = f"{number:03}{source.suffix.lower()}"
        shutil.copyfile(source, folder / name)
        entries.append(
            {
                "file": f"{FOLDER}/{name}",
                "source": picture.path,
                "label": picture.label,
                "probabilities": row.tolist(),
            }
        )
    return entries
