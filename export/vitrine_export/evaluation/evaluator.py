"""From a trained network to its figures, tables, pictures and report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from vitrine_export import plots, report
from vitrine_export.datasets.checks import reason_of
from vitrine_export.datasets.index import DatasetIndex
from vitrine_export.errors import RunError
from vitrine_export.evaluation.examples import augmented_examples, examples_of, sample, worst_mistakes
from vitrine_export.evaluation.figures import figures_of, temperature_of
from vitrine_export.evaluation.predictions import predict
from vitrine_export.evaluation.tables import write_tables
from vitrine_export.preprocessing import Preprocessing
from vitrine_export.runs import Run, write_json
from vitrine_export.staging import staging_folder

_SHOWN = 20


def evaluate(
    network: keras.Model,
    index: DatasetIndex,
    preprocessing: Preprocessing,
    folder: Path,
    *,
    history: Mapping[str, Sequence[Any]] | None = None,
    augmentation: str = "",
    name: str = "",
) -> dict[str, Any]:
    """Figures on the test split, as JSON-ready values: see figures.py; `temperature` where there is a validation split.

    Writes into `folder`, which exists: plots/*.png, the tables *.csv and report.html, which shows them all.

    Args:
        history: curves per epoch (`loss`, `val_loss`, ...) and the `stage` of each epoch; not drawn where None.
        augmentation: the recipe's; samples of it are drawn.
        name: the report's title.

    Raises RunError for an empty test split and for pictures that are gone or broken, OSError where `folder` cannot
    be written.
    """
    if not index.split("test"):
        raise RunError(f"{index.root}: the test split is empty; give dataset.split.test a larger share and train again")
    try:
        test = predict(network, index, "test", preprocessing)
        validation = predict(network, index, "validation", preprocessing)
    except tf.errors.OpError as error:
        raise RunError(f"evaluation failed: {reason_of(error)}") from None
    metrics = {"split": "test", **figures_of(test)}
    if validation.pictures:
        metrics["temperature"] = temperature_of(validation, test)
    mistakes = worst_mistakes(test)
    shown = report.Content(
        name=name,
        index=index,
        preprocessing=preprocessing.spec,
        augmentation=augmentation,
        metrics=metrics,
        history=history or {},
        examples=examples_of(test, sample(test.pictures, _SHOWN), index, preprocessing),
        mistakes=examples_of(test, mistakes[:_SHOWN], index, preprocessing),
        augmented=augmented_examples(index, preprocessing, augmentation),
    )
    write_tables(test, metrics, mistakes, folder)
    _draw(shown, folder / "plots")
    report.write(shown, folder / "report.html")
    return metrics


def evaluate_again(run: Run) -> dict[str, Any]:
    """Evaluate a trained run anew and write its figures; raises RunError where it cannot be read or written."""
    network, index, recipe = run.network(), run.dataset(), run.recipe()
    try:
        with staging_folder(run.folder) as fresh:
            metrics = evaluate(
                network,
                index,
                Preprocessing(recipe.pipeline),
                fresh,
                history=run.history(),
                augmentation=recipe.augmentation,
                name=recipe.name,
            )
            _move(fresh, run)
        write_json(run.folder / "metrics.json", metrics)
    except OSError as error:
        raise RunError(f"cannot write the figures to {run.folder}: {error.strerror or error}") from None
    return metrics


def _draw(shown: report.Content, folder: Path) -> None:
    """The pictures that there is something for; `plots.NAMES` are all there can be."""
    folder.mkdir(exist_ok=True)
    drawn = {
        "confusion_matrix": shown.confusion.light,
        "reliability": shown.reliability.light,
        "classes": shown.distribution.light,
        "predictions": plots.png(partial(plots.prediction_grid, shown.examples)),
    }
    if shown.history:
        drawn["curves"] = plots.png(partial(plots.curves, shown.history))
    if shown.mistakes:
        drawn["mistakes"] = plots.png(partial(plots.prediction_grid, shown.mistakes))
    if shown.augmented:
        drawn["augmented"] = plots.png(partial(plots.augmented_samples, shown.augmented))
    for name, png in drawn.items():
        (folder / f"{name}.png").write_bytes(png)


def _move(fresh: Path, run: Run) -> None:
    """Put new files in the place of old ones; a picture that there is nothing for any more goes."""
    run.plots.mkdir(exist_ok=True)
    for name in plots.NAMES:
        if not (fresh / "plots" / name).exists():
            (run.plots / name).unlink(missing_ok=True)
    for path in [path for path in fresh.rglob("*") if path.is_file()]:
        path.replace(run.folder / path.relative_to(fresh))
