"""A model that stands in where a benchmark would write MobileNetV2."""

from __future__ import annotations

from pathlib import Path

import keras

from benchmarks import models
from vitrine_export.models import FEATURES, LOGITS


def write_quick_model(version: Path) -> None:
    """It takes the same pictures, is written at once, and computes next to nothing."""
    images = keras.Input((models.PICTURE_SIDE, models.PICTURE_SIDE, 3))
    pooled = keras.layers.Identity(name=FEATURES)(keras.layers.GlobalAveragePooling2D()(images))
    models.write_network(keras.Model(images, keras.layers.Dense(3, name=LOGITS)(pooled)), version)
