"""LeNet-5: LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document recognition", 1998."""

from __future__ import annotations

import keras

from vitrine_export.recipe import LeNet


def lenet(config: LeNet, inputs: keras.KerasTensor) -> keras.KerasTensor:
    """The 84 features of LeNet-5 before its classifier; ReLU and max pooling in place of tanh and subsampling."""
    x = keras.layers.Conv2D(6, 5, activation="relu")(inputs)
    x = keras.layers.MaxPooling2D()(x)
    x = keras.layers.Conv2D(16, 5, activation="relu")(x)
    x = keras.layers.MaxPooling2D()(x)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dropout(config.dropout)(x)
    x = keras.layers.Dense(120, activation="relu")(x)
    x = keras.layers.Dropout(config.dropout)(x)
    return keras.layers.Dense(84, activation="relu")(x)
