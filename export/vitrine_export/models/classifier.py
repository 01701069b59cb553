"""The last two layers of every network."""

from __future__ import annotations

import keras

FEATURES = "features"
LOGITS = "logits"


def classifier(x: keras.KerasTensor, classes: int) -> keras.KerasTensor:
    """From [N, D] to logits [N, classes]; features and logits are float32 under every policy."""
    features = keras.layers.Identity(name=FEATURES, dtype="float32")(x)
    return keras.layers.Dense(classes, name=LOGITS, dtype="float32")(features)
