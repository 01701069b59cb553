"""Pictures of one colour a class, and a network that knows the colours: every figure can be counted by hand."""

from __future__ import annotations

import colorsys
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from vitrine_export.datasets.index import SPLITS, DatasetIndex, Picture

PREPROCESSING = "decode|resize(8)|value_range(0,1)"
# Of a head and two epochs of fine-tuning that overfit: the lowest validation loss is the second epoch's.
HISTORY = {
    "loss": [1.0, 0.6, 0.4, 0.3],
    "val_loss": [1.1, 0.7, 0.8, 0.9],
    "accuracy": [0.4, 0.6, 0.8, 0.9],
    "val_accuracy": [0.4, 0.6, 0.6, 0.5],
    "stage": ["head", "head", "fine_tune", "fine_tune"],
}


def colours_of(count: int) -> np.ndarray:
    """float32 [count, 3] in [0, 1], all far from each other for a few classes."""
    return np.array([colorsys.hsv_to_rgb(number / count, 0.9, 0.8) for number in range(count)], np.float32)


def colour_index(
    folder: Path,
    labels: Sequence[str],
    counts: Mapping[str, int] | None = None,
    mistakes: int = 0,
    side: int = 16,
) -> DatasetIndex:
    """`counts` pictures of each class per split (4 each); the first `mistakes` test pictures look like the next class.

    Labels may be any text: the files are numbered.
    """
    colours = colours_of(len(labels))
    pictures = []
    for split in SPLITS:
        for number, label in enumerate(labels):
            for copy in range((counts or {}).get(split, 4)):
                shown = number
                if split == "test" and mistakes:
                    shown, mistakes = (number + 1) % len(labels), mistakes - 1
                pixels = np.broadcast_to(colours[shown] * 255, (side, side, 3)).astype(np.uint8).copy()
                # Each file is different, by a corner that does not change the mean by much.
                pixels[0, 0] = (number % 256, copy % 256, SPLITS.index(split))
                path = folder / split / f"{number}_{copy}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                pictures.append(Picture(f"{split}/{path.name}", label, digest, split))
    return DatasetIndex(str(folder), tuple(labels), tuple(pictures), ())


def colour_network(count: int, sharpness: float = 20.0):
    """A keras model from images in [0, 1], [N, 8, 8, 3], to logits [N, count].

    They are higher the nearer the mean colour is to the class's: -`sharpness` times the squared distance, but for what
    all classes have in common.
    """
    import keras

    colours = colours_of(count)
    network = keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(count)]
    )
    network.layers[-1].set_weights([2 * sharpness * colours.T, -sharpness * (colours**2).sum(axis=1)])
    return network
