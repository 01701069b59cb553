"""Optimizers and learning rates by the names that a recipe gives them."""

from __future__ import annotations

import math
from typing import Any

import keras
import tensorflow as tf

from vitrine_export.recipe import TrainingConfig


class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """The learning rate at each step: linear warm-up, then `kind`; `scale` multiplies all of it."""

    def __init__(self, rate: float, kind: str, steps: int, warmup_steps: int) -> None:
        self._rate = rate
        self._cosine = kind == "cosine"
        self._warmup = warmup_steps
        self._steps = max(1, steps - warmup_steps)
        self.scale = tf.Variable(1.0, trainable=False)

    def __call__(self, step: Any) -> Any:
        step = tf.cast(step, tf.float32)
        rate = self._rate * self.scale
        if self._cosine:
            share = tf.clip_by_value((step - self._warmup) / self._steps, 0.0, 1.0)
            rate *= 0.5 * (1.0 + tf.cos(math.pi * share))
        if self._warmup:
            rate *= tf.minimum(1.0, (step + 1.0) / self._warmup)
        return rate

    def get_config(self) -> dict[str, Any]:
        raise NotImplementedError("a schedule is made from the recipe, never saved")


def build_optimizer(config: TrainingConfig, schedule: Schedule, variables: list[Any]) -> keras.optimizers.Optimizer:
    """The recipe's optimizer for `variables`, with a scaled loss where gradients are float16.

    Weight decay is for kernels alone: biases and the scales of normalisation layers have one dimension.
    """
    decay = config.weight_decay or None
    if config.optimizer == "sgd":
        optimizer = keras.optimizers.SGD(schedule, momentum=0.9, nesterov=True, weight_decay=decay)
    elif config.optimizer == "adamw":
        optimizer = keras.optimizers.AdamW(schedule, weight_decay=config.weight_decay)
    else:
        optimizer = keras.optimizers.Adam(schedule)
    if optimizer.weight_decay is not None:
        optimizer.exclude_from_weight_decay(var_list=[variable for variable in variables if len(variable.shape) < 2])
    if keras.mixed_precision.global_policy().name == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(variables)
    return optimizer
