"""Transfer learning: a backbone trained on other pictures, and a new head that classifies what it sees."""

from __future__ import annotations

from typing import Literal

import keras

from vitrine_export.errors import RecipeError
from vitrine_export.models.applications import Application, load_application
from vitrine_export.models.classifier import classifier
from vitrine_export.models.hub import HubModule, UnfitModuleError
from vitrine_export.recipe import Transfer
from vitrine_export.recipe.backbones import APPLICATIONS

Backbone = Application | HubModule


def load_backbone(config: Transfer, input_shape: tuple[int, int, int]) -> Backbone:
    """The backbone that `config` names, frozen: float32 [N, *input_shape] to features [N, D].

    It runs in inference mode, in training as well: batch normalisation keeps its statistics. Raises RecipeError for a
    backbone that is not there, is not what it must be, or does not take such pictures.
    """
    if config.backbone.startswith(APPLICATIONS):
        return load_application(config, input_shape)
    from vitrine_export.models.handles import resolve

    try:
        return HubModule(str(resolve(config.backbone)), input_shape, config.pooling, trainable=False)
    except UnfitModuleError as error:
        raise RecipeError(f"model.backbone: {error}") from None


def build_head(config: Transfer, width: int, classes: int) -> keras.Model:
    """From features [N, width] to logits float32 [N, classes]."""
    inputs = keras.Input((width,))
    x = inputs
    if config.batch_normalization:
        # A few hundred pictures make few steps, in which the usual 0.99 would not come near the true statistics.
        x = keras.layers.BatchNormalization(momentum=0.9, center=False, scale=False)(x)
    if config.dense:
        x = keras.layers.Dense(config.dense, activation="relu")(x)
    x = keras.layers.Dropout(config.dropout)(x)
    return keras.Model(inputs, classifier(x, classes), name="head")


def assemble(backbone: Backbone, head: keras.Model, input_shape: tuple[int, int, int]) -> keras.Model:
    """The whole network, float32 [N, *input_shape] to logits; its weights are those of `backbone` and `head`."""
    inputs = keras.Input(input_shape)
    x = backbone(inputs)
    for layer in head.layers[1:]:
        x = layer(x)
    return keras.Model(inputs, x, name="transfer")


def unfreeze(network: keras.Model, layers: int | Literal["all"]) -> int:
    """Let the last `layers` layers of the backbone learn; how many there are that do.

    Batch normalisation stays as it is, its statistics and its weights. Compile the network afterwards.
    """
    [backbone] = [layer for layer in network.layers if isinstance(layer, (Application, HubModule))]
    return backbone.unfreeze(layers)
