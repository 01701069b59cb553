"""What the five systems that the recipes replace would reach on the same pictures: their methods in plain Keras.

Each takes an index of pictures with their splits and a seed, trains on the training split in its own way, and returns
its accuracy on the test split, a share in [0, 1]. All pictures are held in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from vitrine_export.datasets.index import SPLITS, DatasetIndex, SplitName

Arrays = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]


def hub_logits(index: DatasetIndex, seed: int, classification_module: Path) -> float:
    """Dog breeds, Kaggle layout: a softmax layer on the 1001 outputs of MobileNetV2, stopped early on accuracy."""
    stopping = keras.callbacks.EarlyStopping("val_accuracy", patience=3)
    return _layer_on(classification_module, index, seed, epochs=100, callbacks=[stopping])


def flowers_cnn(index: DatasetIndex, seed: int, augmented: bool = False) -> float:
    """Flowers: three convolution blocks and a dense layer of 128, ten epochs; fifteen when flipped, turned, zoomed."""
    keras.utils.set_random_seed(seed)
    changes = [
        keras.layers.RandomFlip("horizontal"),
        keras.layers.RandomRotation(0.1),
        keras.layers.RandomZoom(0.1),
    ]
    blocks = [
        layer
        for filters in (16, 32, 64)
        for layer in (
            keras.layers.Conv2D(filters, 3, padding="same", activation="relu"),
            keras.layers.MaxPooling2D(),
        )
    ]
    network = keras.Sequential(
        [
            *(changes if augmented else []),
            *blocks,
            *([keras.layers.Dropout(0.2)] if augmented else []),
            keras.layers.Flatten(),
            keras.layers.Dense(128, activation="relu"),
            keras.layers.Dense(len(index.labels), activation="softmax"),
        ]
    )
    return _accuracy(network, _all(index, 180), epochs=15 if augmented else 10)


def grey_cnn(index: DatasetIndex, seed: int) -> float:
    """Cats against dogs, PetImages layout: the grid's winner, three convolutions of 64 on grey pictures, ten epochs."""
    keras.utils.set_random_seed(seed)
    splits = {name: (images.mean(axis=-1, keepdims=True), y) for name, (images, y) in _all(index, 50).items()}
    blocks = [
        layer
        for _ in range(3)
        for layer in (keras.layers.Conv2D(64, 3, activation="relu"), keras.layers.MaxPooling2D())
    ]
    network = keras.Sequential(
        [*blocks, keras.layers.Flatten(), keras.layers.Dense(len(index.labels), activation="softmax")]
    )
    return _accuracy(network, splits, epochs=10)


def bottleneck(index: DatasetIndex, seed: int, feature_module: Path) -> float:
    """Dog breeds, Udacity layout: saved features of squared pictures and one linear layer."""
    return _layer_on(feature_module, index, seed, epochs=20)


def lenet(index: DatasetIndex, seed: int) -> float:
    """LeNet-5 on few pictures, without augmentation."""
    keras.utils.set_random_seed(seed)
    network = keras.Sequential(
        [
            keras.layers.Conv2D(6, 5, activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(16, 5, activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dense(120, activation="relu"),
            keras.layers.Dense(84, activation="relu"),
            keras.layers.Dense(len(index.labels), activation="softmax"),
        ]
    )
    return _accuracy(network, _all(index, 32), epochs=20)


def _layer_on(
    folder: Path, index: DatasetIndex, seed: int, epochs: int, callbacks: Sequence[keras.callbacks.Callback] = ()
) -> float:
    """One softmax layer on what the TensorFlow Hub module in `folder` answers for pictures of 224 x 224."""
    keras.utils.set_random_seed(seed)
    module = tf.saved_model.load(str(folder))
    splits = {name: _through(module, arrays) for name, arrays in _all(index, 224).items()}
    head = keras.Sequential([keras.layers.Dense(len(index.labels), activation="softmax")])
    return _accuracy(head, splits, epochs, callbacks)


def _accuracy(
    network: keras.Model,
    splits: dict[SplitName, Arrays],
    epochs: int,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> float:
    network.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=False)
    network.fit(
        *splits["train"],
        batch_size=32,
        epochs=epochs,
        validation_data=splits["validation"],
        callbacks=list(callbacks),
        verbose=0,
    )
    return float(network.evaluate(*splits["test"], verbose=0)[1])


def _all(index: DatasetIndex, side: int) -> dict[SplitName, Arrays]:
    return {name: _images(index, name, side) for name in SPLITS}


def _images(index: DatasetIndex, split: SplitName, side: int) -> Arrays:
    """Pictures in [0, 1], float32 [N, side, side, 3], and class numbers, int32 [N]."""
    pictures = index.split(split)
    images = [_image(str(index.file(picture)), side) for picture in pictures]
    return np.stack(images), np.array([index.labels.index(picture.label) for picture in pictures], np.int32)


def _image(path: str, side: int) -> np.ndarray[Any, Any]:
    pixels = tf.io.decode_image(tf.io.read_file(path), channels=3, expand_animations=False)
    resized: np.ndarray[Any, Any] = tf.image.resize(pixels, (side, side)).numpy() / np.float32(255)
    return resized


def _through(module: Any, arrays: Arrays) -> Arrays:
    images, targets = arrays
    outputs = [module(images[at : at + 32], training=False).numpy() for at in range(0, len(images), 32)]
    return np.concatenate(outputs), targets
