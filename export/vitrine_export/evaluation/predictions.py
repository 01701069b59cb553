"""What a network answers for the pictures of a split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from vitrine_export.datasets.index import DatasetIndex, Picture, SplitName
from vitrine_export.datasets.pipeline import image_batches
from vitrine_export.preprocessing import Preprocessing

_BATCH = 64

Logits = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True)
class Predictions:
    """The answers to `pictures`, in their order."""

    labels: tuple[str, ...]
    pictures: list[Picture]
    logits: Logits
    """float32 [pictures, classes]"""

    @cached_property
    def truth(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Class numbers, int64 [pictures]."""
        numbers = {label: number for number, label in enumerate(self.labels)}
        return np.array([numbers[picture.label] for picture in self.pictures], np.int64)

    @cached_property
    def probabilities(self) -> Logits:
        """float32 [pictures, classes]"""
        return softmax(self.logits)

    @cached_property
    def predicted(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Class numbers, int64 [pictures]."""
        return self.probabilities.argmax(axis=1)

    @cached_property
    def scores(self) -> Logits:
        """The probability of each answer, float32 [pictures]."""
        return self.probabilities.max(axis=1)

    def top(self, position: int, count: int) -> list[tuple[str, float]]:
        """The `count` most probable labels for the picture at `position`, and their probabilities."""
        row = self.probabilities[position]
        order = np.argsort(-row, kind="stable")[:count]
        return [(self.labels[number], float(row[number])) for number in order]


def predict(network: keras.Model, index: DatasetIndex, split: SplitName, preprocessing: Preprocessing) -> Predictions:
    """Raises tf.errors.OpError for a picture that is gone or broken."""
    pictures = index.split(split)
    return Predictions(index.labels, pictures, _logits_of(network, index, pictures, preprocessing, split))


def probabilities_of(
    network: keras.Model,
    index: DatasetIndex,
    pictures: Sequence[Picture],
    preprocessing: Preprocessing,
    *,
    temperature: float = 1.0,
) -> Logits:
    """Softmax of the network's logits over `temperature` for each of `pictures`, float32 [len(pictures), classes]."""
    return softmax(_logits_of(network, index, pictures, preprocessing) / np.float32(temperature))


def softmax(logits: Logits) -> Logits:
    """Of each row; in float32, as a server computes it."""
    return tf.nn.softmax(logits).numpy()


def _logits_of(
    network: keras.Model,
    index: DatasetIndex,
    pictures: Sequence[Picture],
    preprocessing: Preprocessing,
    about: str = "",
) -> Logits:
    if not pictures:
        return np.zeros((0, len(index.labels)), np.float32)
    # Read once, so nothing is worth keeping.
    batches = image_batches(index, pictures, preprocessing, _BATCH, cache="none")
    bar = tqdm(batches, f"evaluating {about}".rstrip(), -(-len(pictures) // _BATCH), unit="batch")
    return np.concatenate([tf.cast(network(images, training=False), tf.float32).numpy() for images, _ in bar])
