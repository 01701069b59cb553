"""The features that training would compute first, computed by themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras

from vitrine_export.datasets.prepare import prepare_dataset
from vitrine_export.errors import RecipeError
from vitrine_export.models import transfer
from vitrine_export.preprocessing import Preprocessing
from vitrine_export.recipe import Recipe, Transfer
from vitrine_export.training.advice import readable_errors
from vitrine_export.training.devices import devices
from vitrine_export.training.precision import precision
from vitrine_export.training.stages import Material, features_of


def compute_features(recipe: Recipe, cache: Path) -> dict[str, Any]:
    """Compute the features of the training and validation pictures into `cache`, where `train` finds them.

    Returns `width`, per split the number of `rows` and whether they were `reused`, and a `summary` to read. Raises
    RecipeError for a recipe that trains without them, and what training raises.
    """
    config = recipe.model
    if not isinstance(config, Transfer) or not config.features:
        raise RecipeError("model: is not trained on features; that takes model.name: transfer and model.features: true")
    preprocessing = Preprocessing(recipe.pipeline)
    index = prepare_dataset(recipe.dataset, preprocessing)
    with readable_errors(recipe), precision(recipe.training.mixed_precision):
        material = Material(recipe, index, preprocessing, cache, devices())
        # As training does it, so that a backbone with random weights is the same one.
        keras.utils.set_random_seed(recipe.training.seed)
        backbone = transfer.load_backbone(config, preprocessing.output_shape)
        train, validation = material.pictures()
        found = {
            "train": features_of(material, config, backbone, train, config.augmented_views),
            "validation": features_of(material, config, backbone, validation, 0),
        }
    parts = [f"{len(of.values)} {split}{' (reused)' if of.reused else ''}" for split, of in found.items()]
    return {
        "width": backbone.width,
        "rows": {split: len(of.values) for split, of in found.items()},
        "reused": {split: of.reused for split, of in found.items()},
        "summary": f"{backbone.width} features for each of {' and '.join(parts)} rows, in {cache / 'features'}",
    }
