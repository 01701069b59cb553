"""One stage of training: epochs of steps, and after each of them what is decided, told and kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from vitrine_export.errors import RunError
from vitrine_export.recipe import TrainingConfig
from vitrine_export.training.checkpoint import State
from vitrine_export.training.devices import Devices
from vitrine_export.training.optimizers import Schedule, build_optimizer
from vitrine_export.training.progress import Progress
from vitrine_export.training.steps import Steps


@dataclass(frozen=True)
class Stage:
    name: str
    """`network`, `head` or `fine_tune`."""
    network: keras.Model
    """What is trained: inputs float32 [N, ...] to logits float32 [N, classes]."""
    epochs: int
    learning_rate: float
    warmup_epochs: int
    steps: int
    """Of an epoch, on every worker."""
    training: Callable[[int], tf.data.Dataset]
    """Endless batches from an epoch on, counted over all stages."""
    validation: Callable[[], tf.data.Dataset]
    validation_steps: int


def run_stage(
    stage: Stage,
    state: State,
    config: TrainingConfig,
    devices: Devices,
    callbacks: Sequence[keras.callbacks.Callback],
    keep: Callable[[State], None],
    progress: Progress,
) -> None:
    """Train `stage.network` from `state` to the stage's end, with the best weights where early stopping is on.

    `keep` gets the state after every epoch. Raises RunError where the loss is no number any more.
    """
    network = stage.network
    with devices.strategy.scope():
        schedule = Schedule(
            stage.learning_rate, config.schedule, stage.epochs * stage.steps, stage.warmup_epochs * stage.steps
        )
        optimizer = build_optimizer(config, schedule, network.trainable_variables)
    if state.epoch:
        network.set_weights(state.weights)
        for variable, value in zip(optimizer.variables, state.optimizer, strict=True):
            variable.assign(value)
    if state.epoch < stage.epochs and not state.ended:
        schedule.scale.assign(state.plateau.factor)
        network.stop_training = False
        for callback in callbacks:
            callback.set_model(network)
        train = Steps(devices, network, optimizer, config.label_smoothing)
        measure = Steps(devices, network)
        batches = iter(stage.training(state.epochs_done))
        # One iterator for all epochs: what it has cached is lost with it.
        validation = iter(stage.validation().repeat() if stage.validation_steps else ())
        progress.stage(stage.name, stage.epochs, state.epoch)
        while state.epoch < stage.epochs and not state.ended:
            epoch = state.epochs_done
            _reseed(network, config.seed, epoch)
            rate = float(f"{float(schedule(state.epoch * stage.steps)):.7g}")
            _each(callbacks, "on_epoch_begin", epoch, {})
            seen = train.run(batches, stage.steps, progress.batches(stage.steps)).over(devices)
            _check(seen.mean_loss, "loss", epoch + 1, rate)
            held_out = measure.run(validation, stage.validation_steps, lambda *_: None).over(devices)
            _check(held_out.mean_loss, "val_loss", epoch + 1, rate)
            logs = {
                "loss": seen.mean_loss,
                "accuracy": seen.accuracy,
                "val_loss": held_out.mean_loss,
                "val_accuracy": held_out.accuracy,
                "learning_rate": rate,
            }
            _take_in(state, stage, config, logs)
            schedule.scale.assign(state.plateau.factor)
            progress.epoch(logs)
            _each(callbacks, "on_epoch_end", epoch, dict(logs))
            state.ended |= bool(network.stop_training)
            state.weights = network.get_weights()
            state.optimizer = [variable.numpy() for variable in optimizer.variables]
            keep(state)
    if state.best.weights is not None:
        network.set_weights(state.best.weights)


def _take_in(state: State, stage: Stage, config: TrainingConfig, logs: dict[str, float]) -> None:
    for name, value in (logs | {"stage": stage.name}).items():
        state.history.setdefault(name, []).append(value)
    state.epoch += 1
    if config.schedule == "plateau":
        state.plateau.update(logs["val_loss"])
    if config.early_stopping is not None:
        state.ended = state.best.update(config.early_stopping, logs, stage.network)


def _reseed(network: keras.Model, seed: int, epoch: int) -> None:
    """Set what dropout draws in this epoch, so that a resumed training draws the same."""
    generators = [variable for variable in network.variables if variable.name == "seed_generator_state"]
    for number, generator in enumerate(generators):
        generator.assign(np.random.SeedSequence([seed, epoch, number]).generate_state(2))


def _each(callbacks: Iterable[keras.callbacks.Callback], method: str, epoch: int, logs: dict[str, Any]) -> None:
    for callback in callbacks:
        getattr(callback, method)(epoch, logs)


def _check(value: float, name: str, epoch: int, rate: float) -> None:
    if not math.isfinite(value):
        raise RunError(
            f"training failed: {name} is {value} in epoch {epoch}; give a lower training.learning_rate "
            f"(it was {rate:.3g} in this epoch) or some training.warmup_epochs"
        )
