"""A saved model that answers with the preprocessed pixels, to compare what is served with what is trained on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import keras

from vitrine_export.models import FEATURES
from vitrine_export.preprocessing import Preprocessing
from vitrine_export.recipe import BatchingConfig
from vitrine_export.signatures import ServingModule
from vitrine_serving.embedded.inference.saved_model import SavedModel, load_saved_model


@contextlib.contextmanager
def served_pixels(spec: str, folder: Path) -> Iterator[SavedModel]:
    """A model exported to `folder` and loaded as the server does; its `features` are the pixels that `spec` makes."""
    preprocessing = Preprocessing(spec)
    inputs = keras.Input(preprocessing.output_shape)
    pixels = keras.layers.Flatten(name=FEATURES)(inputs)
    network = keras.Model(inputs, keras.layers.Dense(2)(pixels))
    labels = folder / "labels.txt"
    labels.write_text("a\nb\n")
    ServingModule(network, ["a", "b"], labels, preprocessing, BatchingConfig(), top_k=2).save(folder / "model")
    with contextlib.closing(load_saved_model(str(folder / "model"))) as model:
        yield model
