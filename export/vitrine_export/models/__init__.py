"""Networks by the name that a recipe gives them, and what every network has."""

from __future__ import annotations

from typing import Any

import keras

from vitrine_export.errors import RecipeError
from vitrine_export.models.classifier import FEATURES, LOGITS, classifier
from vitrine_export.models.cnn import cnn
from vitrine_export.models.folding import fold_batch_norms
from vitrine_export.models.graphs import run_anew
from vitrine_export.models.hub import HubModule
from vitrine_export.models.lenet import lenet
from vitrine_export.recipe import Cnn, LeNet


def build(config: LeNet | Cnn, input_shape: tuple[int, int, int], classes: int) -> keras.Model:
    """A new network from float32 [N, *input_shape] to logits float32 [N, classes]; `transfer` makes one of parts.

    Its last two layers are named `features` (the layer before the classifier, flat) and `logits`. Raises RecipeError
    where the input is too small for the network.
    """
    inputs = keras.Input(input_shape)
    try:
        x = lenet(config, inputs) if isinstance(config, LeNet) else cnn(config, inputs)
    except ValueError:
        raise RecipeError(
            f"model.{config.name}: pictures of {input_shape[0]}x{input_shape[1]} are too small for this network; "
            "raise the size in the step resize(...) of preprocessing"
        ) from None
    return keras.Model(inputs, classifier(x, classes), name=config.name)


def with_features(network: keras.Model) -> keras.Model:
    """The same network with two outputs: its logits [N, C] and the features [N, D] that they are made of."""
    seen = {}

    def call(layer: keras.layers.Layer, *arguments: object, **named: object) -> object:
        seen[layer.name] = layer(*arguments, **named)
        return seen[layer.name]

    same = run_anew(network, call)
    return keras.Model(same.input, [same.output, seen[FEATURES]])


def resources(network: keras.Model) -> list[Any]:
    """What a backbone in `network` needs beside its variables, such as tables and files; exports must track it."""
    return [kept for layer in network.layers if isinstance(layer, HubModule) for kept in layer.resources()]


__all__ = ["FEATURES", "LOGITS", "build", "fold_batch_norms", "resources", "with_features"]
