"""Trained networks on disk: model.keras and, where a TensorFlow Hub module is part of it, backbone/ beside it."""

from __future__ import annotations

from pathlib import Path

import keras
import tensorflow as tf

# Registers its layer with Keras, so that a fresh process knows it in the file of a network.
import vitrine_export.models.applications  # noqa: F401
from vitrine_export.errors import RunError
from vitrine_export.models.hub import HubModule, UnfitModuleError, kept_in

NETWORK_FILE = "model.keras"
BACKBONE_FOLDER = "backbone"


def save(network: keras.Model, folder: Path) -> None:
    """Write `network` into `folder`, with everything that it needs: the folder can be moved. Raises OSError."""
    for layer in network.layers:
        if isinstance(layer, HubModule):
            tf.saved_model.save(layer.module, str(folder / BACKBONE_FOLDER))
    # Without what it was compiled with: the optimizer's state is up to twice as large as the network.
    bare = keras.Model(network.input, network.output, name=network.name)
    with kept_in(folder / BACKBONE_FOLDER):
        bare.save(folder / NETWORK_FILE)


def load(folder: Path) -> keras.Model:
    """What `save` wrote. Raises RunError where a file is missing or damaged."""
    file = folder / NETWORK_FILE
    if not file.is_file():
        raise RunError(f"{file}: missing; run `make train` (vitrine-export train) first")
    try:
        with kept_in(folder / BACKBONE_FOLDER):
            return keras.saving.load_model(file, compile=False, safe_mode=True)
    except UnfitModuleError as error:
        raise RunError(f"{error}; train again") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise RunError(f"{file}: cannot be read: {reason}; train again") from None
