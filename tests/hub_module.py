"""A small module in TensorFlow Hub's TF2 format, with everything that such modules can have."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf


def write_module(folder: Path, *, channels: int = 3, key: str | None = None, training: bool = True) -> Path:
    """Six features of a picture; answered under `key` if one is given, called without `training` if it is false."""
    with tempfile.TemporaryDirectory() as elsewhere:
        vocabulary = Path(elsewhere, "vocabulary.txt")
        vocabulary.write_text("1\n2\n")
        tf.saved_model.save(_Module(vocabulary, channels, key, training), str(folder))
    return folder


class _Module(tf.Module):
    """A convolution, a batch normalisation, a table that a file fills, and a projection."""

    def __init__(self, vocabulary: Path, channels: int, key: str | None, training: bool) -> None:
        super().__init__()
        random = np.random.default_rng(0)
        self.kernel = tf.Variable(random.normal(size=(3, 3, channels, 4)).astype("f"), name="net/conv/kernel")
        self.gamma = tf.Variable(tf.ones(4), name="net/bn/gamma")
        self.moving_mean = tf.Variable(tf.zeros(4), name="net/bn/moving_mean", trainable=False)
        self.last = tf.Variable(random.normal(size=(4, 6)).astype("f"), name="net/last/kernel")
        text = tf.lookup.TextFileInitializer(
            str(vocabulary), tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER, tf.int64, tf.lookup.TextFileIndex.WHOLE_LINE
        )
        self.table = tf.lookup.StaticHashTable(text, 0)
        self.key = key
        images = tf.TensorSpec([None, None, None, channels], tf.float32)
        if training:
            self.call = tf.function(self._run, autograph=False)
            for mode in (False, True):
                self.call.get_concrete_function(images, training=mode)
        else:
            self.call = tf.function(self._run, [images], autograph=False)
        self.__call__ = self.call

    def _run(self, images: tf.Tensor, training: bool = False) -> object:
        x = tf.nn.conv2d(images, self.kernel, 2, "SAME")
        mean = tf.reduce_mean(x, [0, 1, 2]) if training else self.moving_mean
        if training:
            self.moving_mean.assign(mean)
        x = tf.nn.relu((x - mean) * self.gamma)
        x *= tf.cast(self.table.lookup(tf.constant(1, tf.int64)), tf.float32)
        output = tf.reduce_mean(x, [1, 2]) @ self.last
        return output if self.key is None else {self.key: output, "other": x}
