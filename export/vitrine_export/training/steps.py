"""Steps of training and of validation on all devices, many in one call of a TensorFlow graph."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from vitrine_export.training.devices import Devices

# Of one call: long enough that its own cost does not count, short enough for a bar that moves and a quick Ctrl-C.
_CALL_SECONDS = 0.3
_MOST_STEPS = 4096


@dataclass(frozen=True)
class Sums:
    """Over the pictures seen so far: the loss in nats, correct answers, and how many pictures."""

    loss: float = 0.0
    correct: float = 0.0
    pictures: float = 0.0

    def __add__(self, other: Sums) -> Sums:
        return Sums(self.loss + other.loss, self.correct + other.correct, self.pictures + other.pictures)

    @property
    def mean_loss(self) -> float:
        return self.loss / max(self.pictures, 1)

    @property
    def accuracy(self) -> float:
        return self.correct / max(self.pictures, 1)

    def over(self, devices: Devices) -> Sums:
        """The same over all workers."""
        return Sums(*map(float, devices.total(np.array([self.loss, self.correct, self.pictures]))))


class Steps:
    """The steps of one network; without `optimizer` they only measure, in inference mode.

    Batches are (inputs float32 [B, ...], classes int32 [B]) and perhaps weights float32 [B].
    """

    def __init__(
        self,
        devices: Devices,
        network: keras.Model,
        optimizer: keras.optimizers.Optimizer | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        self._devices = devices
        self._network = network
        self._optimizer = optimizer
        self._smoothing = label_smoothing
        self._call = tf.function(self._several, jit_compile=False, reduce_retracing=True)
        self._chunk = 1
        self._traced = False

    def run(self, batches: Iterator[Any], steps: int, progress: Callable[[int, Sums], None]) -> Sums:
        """Take `steps` batches; `progress` hears after each call how many are done and what they came to."""
        done, sums = 0, Sums()
        while done < steps:
            count = min(self._chunk, steps - done)
            started = time.monotonic()
            sums += Sums(*map(float, self._call(batches, tf.constant(count)).numpy()))
            self._learn_pace(count, time.monotonic() - started)
            done += count
            progress(done, sums)
        return sums

    def _learn_pace(self, count: int, seconds: float) -> None:
        # The first call traces the graph, which says nothing about the time of a step.
        if self._traced and count == self._chunk:
            wanted = int(self._chunk * _CALL_SECONDS / max(seconds, 1e-6))
            self._chunk = min(max(1, wanted), self._chunk * 8, _MOST_STEPS)
        self._traced = True

    def _several(self, batches: Any, count: tf.Tensor) -> tf.Tensor:
        """`count` steps; (loss, correct, pictures) of them, float64 [3], over the devices of this worker."""
        sums = tf.zeros([3], tf.float64)
        for _ in tf.range(count):
            batch = next(batches)
            result = self._devices.strategy.run(self._one, (batch,))
            sums += tf.add_n(self._devices.strategy.experimental_local_results(result))
        return sums

    def _one(self, batch: tuple[tf.Tensor, ...]) -> tf.Tensor:
        """One step of one device."""
        size = tf.shape(batch[1])[0]
        batch, own = self._slice(batch, size)
        if self._optimizer is None:
            return self._forward(batch, own)[0]
        with tf.GradientTape() as tape:
            sums, loss = self._forward(batch, own)
            # Of the whole batch, over all devices and workers, whose gradients are added up.
            loss = self._optimizer.scale_loss(loss / tf.cast(size * self._devices.workers, tf.float32))
        variables = self._network.trainable_variables
        self._optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return sums

    def _forward(self, batch: tuple[tf.Tensor, ...], own: Any) -> tuple[tf.Tensor, tf.Tensor]:
        """(loss, correct, pictures), float64 [3], and the loss alone, float32; summed over the pictures."""
        inputs, targets, *weights = batch
        logits = tf.cast(self._network(inputs, training=self._optimizer is not None), tf.float32)
        losses = self._losses(targets, logits) * (weights[0] if weights else 1.0) * own
        correct = tf.cast(tf.argmax(logits, -1, tf.int32) == targets, tf.float32) * own
        parts = [tf.reduce_sum(part) for part in (losses, correct, tf.ones_like(losses) * own)]
        return tf.cast(tf.stack(parts), tf.float64), parts[0]

    def _slice(self, batch: tuple[tf.Tensor, ...], size: tf.Tensor) -> tuple[tuple[tf.Tensor, ...], Any]:
        """This device's part of the batch, and which of it counts.

        An epoch's last batch may hold fewer pictures than there are devices. A device left over takes one that is
        another's, and does not count it: batch normalisation has no mean of nothing.
        """
        replicas = self._devices.replicas
        if replicas == 1:
            return batch, 1.0
        first = tf.distribute.get_replica_context().replica_id_in_sync_group % replicas
        numbers = tf.range(first, tf.maximum(size, replicas), replicas)
        return tuple(tf.gather(part, numbers % size) for part in batch), tf.cast(numbers < size, tf.float32)

    def _losses(self, targets: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        if not self._smoothing or self._optimizer is None:
            return tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
        classes = logits.shape[-1]
        wanted = tf.one_hot(targets, classes) * (1 - self._smoothing) + self._smoothing / classes
        return tf.nn.softmax_cross_entropy_with_logits(wanted, logits)
