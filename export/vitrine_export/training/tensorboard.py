"""What TensorBoard shows of a training: curves, pictures, and the recipe's values beside what came of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from sklearn.metrics import confusion_matrix

from vitrine_export import plots
from vitrine_export.augmentation import Augmentation
from vitrine_export.datasets.index import DatasetIndex
from vitrine_export.evaluation import probabilities_of
from vitrine_export.evaluation.examples import sample
from vitrine_export.preprocessing import Preprocessing
from vitrine_export.recipe import Recipe

_SAMPLES = 12
# Of the validation split, for the confusion matrix: answering all of a large one would take as long as an epoch.
_ANSWERED = 512
_TRAIN, _VALIDATION = "train", "validation"


class TensorBoardLog(keras.callbacks.Callback):
    """Writes event files into a folder of `logs`, to which a resumed training adds its own.

    Scalars `loss` and `accuracy` of both splits (folders train/ and validation/, so that they share a diagram) and
    `learning_rate`; images `augmented` (or `pictures`) and `confusion_matrix`; hyperparameters with the figures of
    the epoch with the lowest `val_loss`.
    """

    def __init__(self, logs: Path, recipe: Recipe, index: DatasetIndex, preprocessing: Preprocessing) -> None:
        super().__init__()
        self._logs = logs
        self._recipe = recipe
        self._index = index
        self._preprocessing = preprocessing
        self._writers: dict[str, Any] = {}

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        if not self._folder.exists():
            with self._writer(_TRAIN).as_default():
                name, images = self._samples()
                tf.summary.image(name, images, step=0, max_outputs=_SAMPLES)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Raises OSError where the folder cannot be written."""
        logs = logs or {}
        for split, prefix in ((_TRAIN, ""), (_VALIDATION, "val_")):
            with self._writer(split).as_default():
                for name in ("loss", "accuracy"):
                    tf.summary.scalar(name, logs[f"{prefix}{name}"], step=epoch + 1)
        with self._writer(_TRAIN).as_default():
            tf.summary.scalar("learning_rate", logs["learning_rate"], step=epoch + 1)
        for writer in self._writers.values():
            writer.flush()

    def finish(self, network: keras.Model, history: Mapping[str, list[Any]]) -> None:
        """What is known when training is over: `network` is the one to keep."""
        epochs = len(history["loss"])
        with self._writer(_VALIDATION).as_default():
            tf.summary.image("confusion_matrix", self._confusion(network), step=epochs)
        from tensorboard.plugins.hparams import api

        best = history["val_loss"].index(min(history["val_loss"]))
        with self._writer("").as_default():
            api.hparams(hyperparameters(self._recipe), trial_id=self._folder.name)
            for name in ("val_loss", "val_accuracy"):
                tf.summary.scalar(f"best/{name}", history[name][best], step=epochs)
        self.close()

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

    @property
    def _folder(self) -> Path:
        return self._logs / self.params["started"]

    def _writer(self, split: str) -> Any:
        if split not in self._writers:
            self._writers[split] = tf.summary.create_file_writer(str(self._folder / split))
        return self._writers[split]

    def _samples(self) -> tuple[str, Any]:
        """Training pictures as training sees them, uint8 [N, H, W, C]."""
        pictures = self._index.split("train")
        spec = self._recipe.augmentation
        shown = []
        for number, position in enumerate(sample(pictures, _SAMPLES)):
            image = self._preprocessing.geometry(tf.io.read_file(str(self._index.file(pictures[position]))))
            if spec:
                image = Augmentation(spec)(image, tf.constant([self._recipe.training.seed, number], tf.int64))
            shown.append(np.clip(np.rint(image), 0, 255).astype(np.uint8))
        return "augmented" if spec else "pictures", np.stack(shown)

    def _confusion(self, network: keras.Model) -> Any:
        """uint8 [1, H, W, 4]"""
        pictures = self._index.split("validation")
        pictures = [pictures[position] for position in sample(pictures, _ANSWERED)]
        predicted = probabilities_of(network, self._index, pictures, self._preprocessing).argmax(axis=1)
        labels = self._index.labels
        truth = [labels.index(picture.label) for picture in pictures]
        matrix = confusion_matrix(truth, predicted, labels=range(len(labels)))

        def draw(theme: plots.Theme) -> Any:
            figure = plots.confusion(matrix.tolist(), labels, theme)
            figure.axes[0].set_title(f"{len(pictures)} validation pictures by true and predicted class")
            return figure

        return tf.image.decode_png(plots.png(draw))[tf.newaxis]


def hyperparameters(recipe: Recipe) -> dict[str, bool | int | float | str]:
    """The values of the recipe that one may compare trainings by, by their keys."""
    sections = recipe.model_dump(mode="json", include={"model", "training", "augmentation", "preprocessing"})
    sections["dataset.balance"], sections["dataset.split.seed"] = recipe.dataset.balance, recipe.dataset.split.seed
    found: dict[str, bool | int | float | str] = {}

    def collect(key: str, value: Any) -> None:
        if isinstance(value, dict):
            for name, inner in value.items():
                collect(f"{key}.{name}" if key else name, inner)
        elif value is not None:
            found[key] = value if isinstance(value, bool | int | float | str) else str(value)

    collect("", sections)
    return found
