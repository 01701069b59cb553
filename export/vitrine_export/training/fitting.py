"""From a recipe and an index of pictures to a trained network, going on from a checkpoint where there is one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from vitrine_export.datasets.index import DatasetIndex
from vitrine_export.errors import RunError
from vitrine_export.preprocessing import Preprocessing
from vitrine_export.recipe import Recipe
from vitrine_export.training.advice import readable_errors
from vitrine_export.training.checkpoint import Checkpoint, State, identity_of
from vitrine_export.training.devices import Devices, devices
from vitrine_export.training.loop import run_stage
from vitrine_export.training.precision import in_float32, precision
from vitrine_export.training.progress import Progress
from vitrine_export.training.stages import Material, check, stages
from vitrine_export.training.stopping import Best


def fit(
    recipe: Recipe,
    index: DatasetIndex,
    preprocessing: Preprocessing,
    *,
    cache: Path,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    checkpoint: Path | None = None,
    quiet: bool = False,
) -> tuple[keras.Model, dict[str, list[Any]]]:
    """A trained network (images float32 [N, H, W, C] to logits float32 [N, classes]) and its curves per epoch.

    The curves are `loss` (with label smoothing and class weights), `accuracy`, `val_loss` (plain cross-entropy in
    nats), `val_accuracy`, `learning_rate` (at the epoch's start) and `stage`: network, head or fine_tune.

    Args:
        cache: folder for features and for pictures that do not fit into memory.
        callbacks: hear on_train_begin, on_epoch_begin, on_epoch_end and on_train_end; epochs count over all stages.
            Their `params` hold `started`, which stays the same when training is resumed.
        checkpoint: file to go on from and to keep after every epoch; who calls removes it. None keeps nothing.
        quiet: nothing on stderr.

    Raises RecipeError for what cannot be trained, RunError where training fails or the checkpoint cannot be written.
    """
    check(recipe)
    identity = identity_of(recipe, index)
    with readable_errors(recipe), precision(recipe.training.mixed_precision):
        machine = devices()
        progress = Progress(quiet or not machine.chief)
        _require_one_identity(machine, identity)
        kept = Checkpoint(checkpoint, identity) if checkpoint is not None else None
        state = _resume(kept, machine, recipe, progress) if kept is not None else State()
        if recipe.training.weight_decay and recipe.training.optimizer == "adam":
            progress.say("training.weight_decay is of adamw and sgd; adam trains without it")

        def keep(state: State) -> None:
            if kept is not None and machine.chief:
                kept.write(state)

        keras.utils.set_random_seed(recipe.training.seed)
        network, todo = stages(Material(recipe, index, preprocessing, cache, machine))
        for callback in callbacks:
            callback.set_params({"started": state.started})
            callback.set_model(network)
            callback.on_train_begin({})
        for number, stage in enumerate(todo):
            if number < state.stage:
                continue
            if number > state.stage:
                state = _following(state, recipe, network)
            progress.describe(stage.network)
            try:
                run_stage(stage, state, recipe.training, machine, callbacks, keep, progress)
            finally:
                progress.close()
        for callback in callbacks:
            callback.set_model(network)
            callback.on_train_end({})
        return in_float32(network) if recipe.training.mixed_precision else network, state.history


def _following(state: State, recipe: Recipe, network: keras.Model) -> State:
    """The next stage's start. Its epochs compete with the best one so far, whose weights the network has by now."""
    keeps_best = recipe.training.early_stopping is not None
    best = Best(state.best.value, weights=network.get_weights()) if keeps_best else Best()
    return State(stage=state.stage + 1, history=state.history, best=best, started=state.started)


def _resume(checkpoint: Checkpoint, machine: Devices, recipe: Recipe, progress: Progress) -> State:
    """The chief's checkpoint on every worker, a new state where there is none to go on from."""
    state, reason = checkpoint.read() if machine.chief else (None, "")
    if reason:
        progress.say(f"{reason}; starting anew")
    if machine.workers > 1:
        data = machine.from_chief(checkpoint.file.read_bytes() if state else b"")
        state = State.from_bytes(data)[0] if data else None
    if state is None:
        return State()
    fine = recipe.training.fine_tune if state.stage else None
    epochs = fine.epochs if fine else recipe.training.epochs
    at = f"after epoch {state.epoch}" if state.ended or state.epoch == epochs else f"at epoch {state.epoch + 1}"
    progress.say(f"resuming {at} of {epochs}{' of fine-tuning' if fine else ''}; --fresh starts anew")
    return state


def _require_one_identity(machine: Devices, identity: dict[str, Any]) -> None:
    """Raises RunError, on all workers, where one of them would train something else than the chief."""
    if machine.workers == 1:
        return
    mine = json.dumps(identity, sort_keys=True).encode()
    differs = np.zeros(machine.workers, np.int32)
    differs[machine.number] = machine.from_chief(mine) != mine
    if others := np.flatnonzero(machine.total(differs)).tolist():
        raise RunError(
            f"TF_CONFIG: worker {', '.join(map(str, others))} has another recipe or other pictures than worker 0; "
            "give all workers the same"
        )
