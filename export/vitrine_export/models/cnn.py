"""A convolutional network of as many blocks and dense layers as a recipe asks for."""

from __future__ import annotations

import keras

from vitrine_export.recipe import Cnn


def cnn(config: Cnn, inputs: keras.KerasTensor) -> keras.KerasTensor:
    """The features before the classifier: convolution blocks, then `dense_layers` layers of `dense` units."""
    filters = config.filters if isinstance(config.filters, list) else [config.filters] * (config.blocks or 3)
    x = inputs
    for count in filters:
        # Batch normalisation subtracts the mean, so a bias before it would do nothing.
        x = keras.layers.Conv2D(count, 3, padding="same", use_bias=not config.batch_normalization)(x)
        if config.batch_normalization:
            x = keras.layers.BatchNormalization()(x)
        x = keras.layers.ReLU()(x)
        x = keras.layers.MaxPooling2D()(x)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dropout(config.dropout)(x)
    for _ in range(config.dense_layers):
        x = keras.layers.Dense(config.dense, activation="relu")(x)
    return x
