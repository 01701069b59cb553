"""From a recipe to a run: pictures, training that can be interrupted, evaluation, and the files they leave."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras

from vitrine_export.datasets.index import DatasetIndex
from vitrine_export.datasets.prepare import prepare_dataset
from vitrine_export.evaluation import evaluate
from vitrine_export.interrupts import Interrupts, interrupts
from vitrine_export.models import storage
from vitrine_export.preprocessing import Preprocessing
from vitrine_export.recipe import Recipe
from vitrine_export.runs import Run, fresh_run, write_json
from vitrine_export.training.advice import readable_errors
from vitrine_export.training.checkpoint import Checkpoint, identity_of
from vitrine_export.training.devices import devices
from vitrine_export.training.fitting import fit
from vitrine_export.training.progress import summary
from vitrine_export.training.stages import check
from vitrine_export.training.tensorboard import TensorBoardLog


def train(
    recipe: Recipe, folder: Path, *, cache: Path | None = None, logs: Path | None = None, fresh: bool = False
) -> Run:
    """Train what `recipe` says, evaluate it on the test split and leave the run in `folder`.

    After every epoch there is a checkpoint beside `folder`, from which the same call goes on after an interruption;
    it goes when the run is there. KeyboardInterrupt has a text that says so; so does SIGTERM on stderr, which ends the
    process with exit code 143. With a TF_CONFIG, worker 0 does all that and the others end with SystemExit(0).

    Args:
        cache: for features and pictures; ROOT/cache where `folder` is ROOT/runs/NAME.
        logs: for TensorBoard, a folder for each training; ROOT/logs/NAME.
        fresh: train from the start, whatever checkpoint there is.

    Raises RecipeError and DatasetError for what cannot be trained, RunError where `folder` cannot be written or
    training fails.
    """
    check(recipe)
    root = folder.absolute().parent.parent
    cache, logs = cache or root / "cache", logs or root / "logs" / folder.name
    with readable_errors(recipe):
        chief = devices().chief
    preprocessing = Preprocessing(recipe.pipeline)
    file = folder.with_name(f"{folder.name}.checkpoint")
    with _interruptible() as (caught, goes_on_from):
        stop = _StopBetweenEpochs(caught)
        index = prepare_dataset(recipe.dataset, preprocessing)
        checkpoint = Checkpoint(file, identity_of(recipe, index))
        goes_on_from.append(checkpoint)
        if not chief:
            fit(recipe, index, preprocessing, cache=cache, callbacks=[stop], checkpoint=file)
            sys.stderr.write(f"worker {devices().number}: done; worker 0 writes the run\n")
            sys.exit(0)
        if fresh:
            checkpoint.remove()
        with fresh_run(folder) as run:
            (run.folder / "recipe.json").write_text(recipe.model_dump_json(indent=1), encoding="utf-8")
            (run.folder / "dataset.json").write_text(index.to_json(), encoding="utf-8")
            log = TensorBoardLog(logs, recipe, index, preprocessing)
            try:
                network, history = fit(
                    recipe, index, preprocessing, cache=cache, callbacks=[stop, log], checkpoint=file
                )
                with readable_errors(recipe):
                    _write(run, recipe, index, preprocessing, network, history)
                    log.finish(network, history)
            finally:
                log.close()
    checkpoint.remove()
    return Run(folder)


def _write(
    run: Run,
    recipe: Recipe,
    index: DatasetIndex,
    preprocessing: Preprocessing,
    network: keras.Model,
    history: dict[str, list[Any]],
) -> None:
    (run.folder / "summary.txt").write_text(summary(network), encoding="utf-8")
    storage.save(network, run.folder)
    write_json(run.folder / "history.json", history)
    metrics = evaluate(
        network,
        index,
        preprocessing,
        run.folder,
        history=history,
        augmentation=recipe.augmentation,
        name=recipe.name,
    )
    write_json(run.folder / "metrics.json", metrics)


class _StopBetweenEpochs(keras.callbacks.Callback):
    """Ends training for a signal that did not end it at once."""

    def __init__(self, caught: Interrupts) -> None:
        super().__init__()
        self._caught = caught

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._caught.check()


@contextlib.contextmanager
def _interruptible() -> Iterator[tuple[Interrupts, list[Checkpoint]]]:
    """SIGTERM becomes SystemExit(143), Ctrl-C KeyboardInterrupt, and both say where training would go on.

    Gives the signals, and a list for the checkpoint, as soon as there is one.
    """
    goes_on_from: list[Checkpoint] = []
    with interrupts(signal.SIGINT, signal.SIGTERM) as caught:
        try:
            yield caught, goes_on_from
        except BaseException as error:
            # In the middle of a call into TensorFlow, which makes a SystemError of it, for one.
            if not caught.received and not isinstance(error, KeyboardInterrupt):
                raise
            message = _interrupted(goes_on_from)
            if signal.SIGTERM in caught.received:
                sys.stderr.write(f"\n{message}\n")
                raise SystemExit(128 + signal.SIGTERM) from None
            raise KeyboardInterrupt(message) from None


def _interrupted(goes_on_from: list[Checkpoint]) -> str:
    state = goes_on_from[-1].read()[0] if goes_on_from else None
    if state is None:
        return "interrupted; nothing was changed"
    return f"interrupted after epoch {state.epochs_done}; run the same command to go on"
