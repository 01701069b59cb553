"""A model that tells how it is run, and that takes as long as it is told."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf
import tf1models

v1 = tf.compat.v1


def write_probe(version: Path) -> Path:
    """Half plus two, and signatures that wait, work on and on, or tell of the batch they are in.

    `hold` waits, without work, until `let_go` is given a number for it, and answers with that number. `spin`
    counts for ever, `count` as far as the first x. `told` tells how many calls of `hold` have come and how far
    `spin` has counted.
    """

    def build():
        held = v1.get_variable("held", initializer=tf.constant(0, tf.int64), use_resource=True)
        turns = v1.get_variable("turns", initializer=tf.constant(0, tf.int64), use_resource=True)
        gate = tf.queue.FIFOQueue(10_000, tf.float32, [()], shared_name="gate")
        x = v1.placeholder(tf.float32, [None], name="x")
        text = v1.placeholder(tf.string, [None], name="text")
        serialized = v1.placeholder(tf.string, [None], name="examples")
        image = tf.io.parse_example(serialized, {"image": tf.io.FixedLenFeature([1], tf.string)})["image"]

        with tf.control_dependencies([held.assign_add(1)]):
            number = gate.dequeue()
        with tf.control_dependencies([gate.enqueue_many(x)]):
            let_go = tf.identity(x)
        start = tf.reduce_sum(tf.cast(x, tf.int64))
        [endless] = tf.while_loop(lambda turn: turn >= 0, lambda _: turns.assign_add(1), [start])
        goal = tf.cast(x[0], tf.int64)
        [counted] = tf.while_loop(lambda turn: turn < goal, lambda turn: turn + 1, [tf.constant(0, tf.int64)])

        def predict(inputs, outputs):
            return tf1models.signature("predict", inputs, outputs)

        return {
            "serving_default": predict({"x": x}, {"y": 0.5 * x + 2.0}),
            "hold": predict({"x": x}, {"number": number + 0 * x}),
            "let_go": predict({"x": x}, {"x": let_go}),
            "spin": predict({"x": x}, {"turns": endless}),
            "count": predict({"x": x}, {"counted": counted + tf.cast(0 * x, tf.int64)}),
            "told": predict(
                {"x": x}, {"held": held + tf.cast(0 * x, tf.int64), "turns": turns + tf.cast(0 * x, tf.int64)}
            ),
            "batch": predict({"x": x}, {"size": tf.fill(tf.shape(x), tf.size(x))}),
            "strings": predict({"text": text}, {"text": tf.identity(text)}),
            "classify": tf1models.signature("classify", {"inputs": serialized}, {"classes": image}),
        }

    return tf1models.write_graph(version, build)
