"""How good a network is on pictures that it has not seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support
from tqdm import tqdm

from vitrine_export import plots
from vitrine_export.datasets.checks import reason_of
from vitrine_export.datasets.index import DatasetIndex, Picture
from vitrine_export.datasets.pipeline import image_batches
from vitrine_export.errors import RunError
from vitrine_export.preprocessing import Preprocessing
from vitrine_export.runs import Run, write_json

_BATCH = 64


def evaluate(
    network: keras.Model, index: DatasetIndex, preprocessing: Preprocessing, plots_folder: Path
) -> dict[str, Any]:
    """Figures on the test split, as JSON-ready values, with pictures of them in `plots_folder`.

    `accuracy` and the per-class `precision`, `recall` and `f1` are shares in [0, 1]; `loss` is the cross-entropy in
    nats; `confusion_matrix` has a row per true and a column per predicted class, in the order of `labels`.
    """
    pictures = index.split("test")
    probabilities = probabilities_of(network, index, pictures, preprocessing)
    numbers = {label: number for number, label in enumerate(index.labels)}
    truth = np.array([numbers[picture.label] for picture in pictures])
    predicted = probabilities.argmax(axis=1)
    classes = np.arange(len(index.labels))
    loss = -np.log(np.maximum(probabilities[np.arange(len(truth)), truth].astype(np.float64), 1e-12)).mean()
    matrix = confusion_matrix(truth, predicted, labels=classes)
    precision, recall, f1, support = precision_recall_fscore_support(truth, predicted, labels=classes, zero_division=0)
    plots.confusion(matrix, index.labels, plots_folder / "confusion_matrix.png")
    plots.prediction_grid(
        [index.file(picture) for picture in pictures],
        [picture.label for picture in pictures],
        [index.labels[number] for number in predicted],
        probabilities.max(axis=1),
        plots_folder / "predictions.png",
    )
    return {
        "split": "test",
        "pictures": len(pictures),
        "accuracy": float((predicted == truth).mean()),
        "loss": float(loss),
        "per_class": {
            label: {
                "precision": float(precision[number]),
                "recall": float(recall[number]),
                "f1": float(f1[number]),
                "pictures": int(support[number]),
            }
            for label, number in numbers.items()
        },
        "confusion_matrix": matrix.tolist(),
    }


def evaluate_again(run: Run) -> dict[str, Any]:
    """Evaluate a trained run anew and write its figures; raises RunError where it cannot be read or written."""
    network, index = run.network(), run.dataset()
    try:
        metrics = evaluate(network, index, Preprocessing(run.recipe().pipeline), run.plots)
        write_json(run.folder / "metrics.json", metrics)
    except tf.errors.OpError as error:
        raise RunError(f"evaluation failed: {reason_of(error)}") from None
    except OSError as error:
        raise RunError(f"cannot write the figures to {run.folder}: {error.strerror or error}") from None
    return metrics


def probabilities_of(
    network: keras.Model, index: DatasetIndex, pictures: list[Picture], preprocessing: Preprocessing
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Softmax of the network's logits for each of `pictures`, float32 [len(pictures), classes]."""
    batches = image_batches(index, pictures, preprocessing, _BATCH)
    bar = tqdm(batches, "evaluating", -(-len(pictures) // _BATCH), unit="batch")
    return np.concatenate([tf.nn.softmax(network(images, training=False)).numpy() for images, _ in bar])
