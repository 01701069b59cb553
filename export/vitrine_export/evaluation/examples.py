"""The pictures that are shown with their answers: only these are read again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from vitrine_export.augmentation import Augmentation
from vitrine_export.datasets.checks import reason_of
from vitrine_export.datasets.index import DatasetIndex, Picture
from vitrine_export.decoding import Decoder
from vitrine_export.errors import RunError
from vitrine_export.evaluation.predictions import Predictions
from vitrine_export.preprocessing import Preprocessing

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
_SIDE = 288
_AUGMENTED_ROWS, _AUGMENTED_COLUMNS = 4, 6


@dataclass(frozen=True)
class Example:
    """A picture and what the network answered."""

    path: str
    truth: str
    answers: list[tuple[str, float]]
    """The most probable labels and their probabilities, the best first."""
    pixels: Pixels
    """uint8 [H, W, 3], as the network's decoder gives it, no side longer than 288."""

    @property
    def is_right(self) -> bool:
        return self.answers[0][0] == self.truth

    @property
    def notable(self) -> list[tuple[str, float]]:
        """The best answer, and those after it that are not rounded to 0 %."""
        return [self.answers[0], *(answer for answer in self.answers[1:] if answer[1] > 0.005)]

    @property
    def words(self) -> list[str]:
        """Two answers at most: 95 % dog; 5 % cat."""
        return [f"{score * 100:.0f} % {label}" for label, score in self.notable[:2]]


@dataclass(frozen=True)
class Augmented:
    """A training picture of the network's size, and what training may make of it; all uint8 [H, W, 3]."""

    label: str
    original: Pixels
    changed: list[Pixels]


def sample(pictures: Sequence[Picture], count: int) -> list[int]:
    """Positions of `count` pictures, or all there are, that take turns between the classes; the same every time."""
    by_class: dict[str, list[int]] = defaultdict(list)
    for position in sorted(range(len(pictures)), key=lambda position: pictures[position].sha256):
        by_class[pictures[position].label].append(position)
    # The class of the lowest digest first: with more classes than turns, the first by name would be all there are.
    classes = sorted(by_class.values(), key=lambda positions: pictures[positions[0]].sha256)
    turns = (position for turn in zip_longest(*classes) for position in turn if position is not None)
    return list(islice(turns, count))


def worst_mistakes(predictions: Predictions) -> list[int]:
    """Positions of the wrong answers, the most confident first."""
    wrong = np.flatnonzero(predictions.predicted != predictions.truth)
    return wrong[np.argsort(-predictions.scores[wrong], kind="stable")].tolist()


def examples_of(
    predictions: Predictions, positions: Sequence[int], index: DatasetIndex, preprocessing: Preprocessing
) -> list[Example]:
    """Raises RunError for a picture that is gone or broken."""
    return [
        Example(
            predictions.pictures[position].path,
            predictions.pictures[position].label,
            predictions.top(position, 3),
            _thumbnail(index.file(predictions.pictures[position]), preprocessing.max_pixels),
        )
        for position in positions
    ]


def augmented_examples(index: DatasetIndex, preprocessing: Preprocessing, augmentation: str) -> list[Augmented]:
    """A few training pictures, each with several random changes of `augmentation`; none where that is empty.

    Raises RunError for a picture that is gone or broken.
    """
    if not augmentation:
        return []
    change = Augmentation(augmentation)
    pictures = index.split("train")
    rows = []
    for row, position in enumerate(sample(pictures, _AUGMENTED_ROWS)):
        picture = pictures[position]
        original = _decoded(index.file(picture), preprocessing.geometry)
        seeds = (tf.constant([row, column], tf.int32) for column in range(_AUGMENTED_COLUMNS - 1))
        rows.append(Augmented(picture.label, _rgb(original), [_rgb(change(original, seed)) for seed in seeds]))
    return rows


def _thumbnail(path: Path, max_pixels: int) -> Pixels:
    # The network's own decoder: what it makes of grey, CMYK, 16 bits or a turned camera is what is shown.
    picture = Image.fromarray(_decoded(path, _thumbnail_decoder(max_pixels)).numpy())
    picture.thumbnail((_SIDE, _SIDE))
    return np.asarray(picture)


@cache
def _thumbnail_decoder(max_pixels: int) -> Decoder:
    """Of a large JPEG it gives no more than a thumbnail needs. One for all: it is compiled at its first picture."""
    return Decoder(max_pixels, target=(_SIDE, _SIDE))


def _decoded(path: Path, decode: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
    try:
        return decode(tf.io.read_file(str(path)))
    except tf.errors.OpError as error:
        raise RunError(f"{path}: cannot be shown: {reason_of(error)}; restore the picture or train again") from None


def _rgb(image: tf.Tensor) -> Pixels:
    pixels = np.clip(np.rint(np.asarray(image)), 0, 255).astype(np.uint8)
    return np.broadcast_to(pixels, (*pixels.shape[:2], 3)) if pixels.shape[-1] == 1 else pixels
