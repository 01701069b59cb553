"""Networks by the name that a recipe gives them."""

from __future__ import annotations

import keras

from vitrine_export.errors import RecipeError
from vitrine_export.models.cnn import cnn
from vitrine_export.models.lenet import lenet
from vitrine_export.recipe import LeNet, Recipe

FEATURES = "features"
LOGITS = "logits"


def build(recipe: Recipe, input_shape: tuple[int, int, int], classes: int) -> keras.Model:
    """A network from float32 [N, *input_shape] to logits float32 [N, classes].

    Its last two layers are named `features` (the layer before the classifier, flat) and `logits`. Raises RecipeError
    where the input is too small for the network.
    """
    config = recipe.model
    inputs = keras.Input(input_shape)
    try:
        x = lenet(config, inputs) if isinstance(config, LeNet) else cnn(config, inputs)
    except ValueError:
        raise RecipeError(
            f"model.{config.name}: pictures of {input_shape[0]}x{input_shape[1]} are too small for this network; "
            "raise the size in the step resize(...) of preprocessing"
        ) from None
    features = keras.layers.Identity(name=FEATURES)(x)
    logits = keras.layers.Dense(classes, name=LOGITS)(features)
    return keras.Model(inputs, logits, name=config.name)


__all__ = ["FEATURES", "LOGITS", "build"]
