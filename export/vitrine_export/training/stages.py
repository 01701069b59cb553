"""What is trained, one stage after another: a whole network, or a new head and then the backbone below it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from vitrine_export import models
from vitrine_export.augmentation import Augmentation
from vitrine_export.datasets.balance import class_weights
from vitrine_export.datasets.index import DatasetIndex, Picture
from vitrine_export.datasets.pipeline import image_batches, training_batches
from vitrine_export.errors import RecipeError
from vitrine_export.features import Features, bottleneck, feature_batches
from vitrine_export.models import transfer
from vitrine_export.preprocessing import Preprocessing
from vitrine_export.recipe import Recipe, Transfer
from vitrine_export.training.devices import Devices
from vitrine_export.training.loop import Stage


@dataclass(frozen=True)
class Material:
    """What all stages of a training are made of."""

    recipe: Recipe
    index: DatasetIndex
    preprocessing: Preprocessing
    cache: Path
    """Where features, and pictures that do not fit into memory, are kept."""
    devices: Devices

    @property
    def batch_size(self) -> int:
        return self.devices.batch_size(self.recipe.training.batch_size)

    def pictures(self) -> tuple[list[Picture], list[Picture]]:
        """This worker's, of the training and of the validation split."""
        return self.devices.share(self.index.split("train")), self.devices.part(self.index.split("validation"))

    def augmentation(self) -> Augmentation | None:
        return Augmentation(self.recipe.augmentation) if self.recipe.augmentation else None

    def weights(self) -> dict[str, float] | None:
        return class_weights(self.index) if self.recipe.dataset.balance == "weights" else None


def check(recipe: Recipe) -> None:
    """Raises RecipeError for a combination that cannot be trained."""
    if recipe.training.fine_tune is not None and not isinstance(recipe.model, Transfer):
        raise RecipeError(
            f"training.fine_tune: {recipe.model.name} has no backbone that could learn in a second stage; leave it "
            "out, or take model.name: transfer"
        )


def stages(material: Material) -> tuple[keras.Model, Iterator[Stage]]:
    """The whole network, and the stages in which it is trained: each is made when the one before is done."""
    recipe, shape, classes = material.recipe, material.preprocessing.output_shape, len(material.index.labels)
    config = recipe.model
    with material.devices.strategy.scope():
        if not isinstance(config, Transfer):
            network = models.build(config, shape, classes)
            return network, iter([_on_pictures(material, "network", network)])
        backbone = transfer.load_backbone(config, shape)
        head = transfer.build_head(config, backbone.width, classes)
        network = transfer.assemble(backbone, head, shape)

    def in_turn() -> Iterator[Stage]:
        if config.features:
            yield _on_features(material, config, backbone, head)
        else:
            yield _on_pictures(material, "head", network)
        if recipe.training.fine_tune is not None:
            transfer.unfreeze(network, recipe.training.fine_tune.layers)
            yield _on_pictures(material, "fine_tune", network)

    return network, in_turn()


def _on_pictures(material: Material, name: str, network: keras.Model) -> Stage:
    settings, index = material.recipe.training, material.index
    train, validation = material.pictures()
    cached: Any = {"cache": material.recipe.dataset.cache, "cache_folder": material.cache / "pictures"}

    def training(epoch: int) -> tf.data.Dataset:
        return training_batches(
            index,
            train,
            material.preprocessing,
            material.batch_size,
            seed=settings.seed,
            first_epoch=epoch,
            augmentation=material.augmentation(),
            class_weights=material.weights(),
            **cached,
        )

    def held_out() -> tf.data.Dataset:
        return image_batches(index, validation, material.preprocessing, material.batch_size, **cached)

    return _stage(material, name, network, training, held_out)


def features_of(
    material: Material, config: Transfer, backbone: transfer.Backbone, pictures: list[Picture], views: int
) -> Features:
    """From the cache, where they have been computed before; raises what `bottleneck` raises."""
    return bottleneck(
        config,
        backbone,
        material.index,
        pictures,
        material.preprocessing,
        material.cache / "features",
        augmentation=material.augmentation(),
        views=views,
        seed=material.recipe.training.seed,
    )


def _on_features(material: Material, config: Transfer, backbone: transfer.Backbone, head: keras.Model) -> Stage:
    settings, index = material.recipe.training, material.index
    train, validation = material.pictures()
    numbers = {label: number for number, label in enumerate(index.labels)}
    weights = material.weights()
    by_number = None if weights is None else {numbers[label]: weight for label, weight in weights.items()}

    def training(epoch: int) -> tf.data.Dataset:
        return feature_batches(
            features_of(material, config, backbone, train, config.augmented_views),
            [numbers[picture.label] for picture in train],
            material.batch_size,
            seed=settings.seed,
            first_epoch=epoch,
            class_weights=by_number,
        )

    def held_out() -> tf.data.Dataset:
        return feature_batches(
            features_of(material, config, backbone, validation, 0),
            [numbers[picture.label] for picture in validation],
            material.batch_size,
        )

    return _stage(material, "head", head, training, held_out)


def _stage(
    material: Material,
    name: str,
    network: keras.Model,
    training: Callable[[int], tf.data.Dataset],
    validation: Callable[[], tf.data.Dataset],
) -> Stage:
    settings = material.recipe.training
    fine = settings.fine_tune if name == "fine_tune" else None
    train, held_out = material.pictures()
    return Stage(
        name=name,
        network=network,
        epochs=fine.epochs if fine else settings.epochs,
        learning_rate=fine.learning_rate if fine else settings.learning_rate,
        # A trained head needs no gentle start, and the rate is low anyway.
        warmup_epochs=0 if fine else settings.warmup_epochs,
        steps=-(-len(train) // material.batch_size),
        training=training,
        validation=validation,
        validation_steps=-(-len(held_out) // material.batch_size),
    )
