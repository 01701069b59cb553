"""Models that tell how they are run, and that take as long as they are told."""

from __future__ import annotations

from pathlib import Path

import savedmodels
import tensorflow as tf


class Probe(savedmodels.HalfPlus):
    """Half plus two, and signatures that work for long or tell of the batch."""

    def __init__(self) -> None:
        super().__init__(2.0)
        self.turned = tf.Variable(0, dtype=tf.int64)
        self.stopped = tf.Variable(False)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, name="turns")])
    def spin(self, turns):
        """Count up, number by number, as often as told or until `stop`."""

        def turn(number):
            with tf.control_dependencies([self.turned.assign_add(1)]):
                return number + 1

        wanted = tf.reduce_max(turns)
        number = tf.while_loop(
            lambda number: (number < wanted) & ~self.stopped.read_value(), turn, [tf.constant(0, tf.int64)]
        )[0]
        return {"turned": number + 0 * turns}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, name="turns")])
    def turned_so_far(self, turns):
        """How far all calls of `spin` have counted."""
        return {"turned": self.turned + 0 * turns}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, name="turns")])
    def stop(self, turns):
        """End all calls of `spin`, those to come too unless `turns` is 0."""
        return {"stopped": self.stopped.assign(tf.reduce_max(turns) > 0)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def batch(self, x):
        """How many rows are run together."""
        return {"size": tf.fill(tf.shape(x), tf.size(x))}


def write_probe(version: Path) -> Path:
    model = Probe()
    names = ("spin", "turned_so_far", "stop", "batch")
    signatures = {name: getattr(model, name) for name in names}
    tf.saved_model.save(model, str(version), signatures={"serving_default": model.halve, **signatures})
    return version
