"""From a recipe to a trained run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from tqdm import tqdm

from vitrine_export import models, plots
from vitrine_export.datasets.checks import reason_of
from vitrine_export.datasets.digits import write_digits
from vitrine_export.datasets.folders import index_folders
from vitrine_export.datasets.index import DatasetIndex
from vitrine_export.datasets.pipeline import image_batches
from vitrine_export.errors import RunError
from vitrine_export.evaluation import evaluate
from vitrine_export.preprocessing import Preprocessing
from vitrine_export.recipe import Recipe
from vitrine_export.runs import Run, fresh_run, write_json


def train(recipe: Recipe, folder: Path) -> Run:
    """Train what `recipe` says, evaluate it on the test split and leave the run in `folder`.

    Raises DatasetError for pictures that cannot be trained on, RunError where `folder` cannot be written or training
    fails.
    """
    preprocessing = Preprocessing(recipe.pipeline)
    index = prepare_dataset(recipe, preprocessing)
    with fresh_run(folder) as run:
        (run.folder / "recipe.json").write_text(recipe.model_dump_json(indent=1), encoding="utf-8")
        (run.folder / "dataset.json").write_text(index.to_json(), encoding="utf-8")
        try:
            network, history = fit(recipe, index, preprocessing)
        except tf.errors.OpError as error:
            # A picture that has gone since it was checked, for one.
            raise RunError(f"training failed: {reason_of(error)}") from None
        network.save(run.network_file)
        write_json(run.folder / "history.json", history)
        run.plots.mkdir()
        plots.curves(history, run.plots / "curves.png")
        write_json(run.folder / "metrics.json", evaluate(network, index, preprocessing, run.plots))
    return Run(folder)


def prepare_dataset(recipe: Recipe, preprocessing: Preprocessing) -> DatasetIndex:
    """Make the pictures where the recipe says how, then find, check and split them; says what it left out."""
    root = Path(recipe.dataset.path or ".")
    if recipe.dataset.source == "digits" and not root.exists():
        write_digits(root)
    index = index_folders(root, recipe.dataset.split, preprocessing.from_bytes)
    counts = ", ".join(f"{count} {name}" for name, count in index.counts().items())
    _say(f"{len(index.pictures)} pictures of {len(index.labels)} classes in {root}: {counts}")
    if index.skipped:
        _say(f"skipped {len(index.skipped)} files:")
        for entry in index.skipped:
            _say(f"  {entry.path}: {entry.reason}")
    return index


def fit(
    recipe: Recipe, index: DatasetIndex, preprocessing: Preprocessing
) -> tuple[keras.Model, dict[str, list[float]]]:
    """A trained network (images float32 [N, H, W, C] to logits float32 [N, classes]) and its curves per epoch."""
    settings = recipe.training
    keras.utils.set_random_seed(settings.seed)
    train_pictures, validation_pictures = index.split("train"), index.split("validation")
    batches = image_batches(index, train_pictures, preprocessing, settings.batch_size, shuffle_seed=settings.seed)
    validation = image_batches(index, validation_pictures, preprocessing, settings.batch_size)
    network = models.build(recipe, preprocessing.output_shape, len(index.labels))
    steps = settings.epochs * max(1, -(-len(train_pictures) // settings.batch_size))
    network.compile(
        optimizer=keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(settings.learning_rate, steps)),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        # XLA compiles for longer than a small network trains, and is slower than the plain kernels on a CPU.
        jit_compile=False,
    )
    bar = _Progress(settings.epochs)
    outcome = network.fit(
        # The batches are shuffled already.
        batches,
        validation_data=validation,
        epochs=settings.epochs,
        shuffle=False,
        verbose=0,
        callbacks=[bar],
    )
    return network, {name: [float(value) for value in values] for name, values in outcome.history.items()}


class _Progress(keras.callbacks.Callback):
    def __init__(self, epochs: int) -> None:
        super().__init__()
        self._epochs = epochs

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._bar = tqdm(total=self._epochs, desc="training", unit="epoch")

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        shown = {name: value for name, value in (logs or {}).items() if name != "learning_rate"}
        self._bar.set_postfix({name: f"{value:.3f}" for name, value in shown.items()}, refresh=False)
        self._bar.update()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self._bar.close()


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
