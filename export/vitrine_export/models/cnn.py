"""A small convolutional network for pictures of any kind."""

from __future__ import annotations

import keras

from vitrine_export.recipe import Cnn


def cnn(config: Cnn, inputs: keras.KerasTensor) -> keras.KerasTensor:
    """The features before the classifier: one convolution block per entry of `filters`, then a dense layer."""
    x = inputs
    for filters in config.filters:
        x = keras.layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        x = keras.layers.BatchNormalization()(x)
        x = keras.layers.ReLU()(x)
        x = keras.layers.MaxPooling2D()(x)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dropout(config.dropout)(x)
    return keras.layers.Dense(config.dense, activation="relu")(x)
