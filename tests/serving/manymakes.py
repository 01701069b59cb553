"""Models of many makes, half_plus_two of TensorFlow 1 among them, and the list to serve them all."""

from __future__ import annotations

from pathlib import Path

import savedmodels
import tensorflow as tf
import tf1models
from modelconfigs import ALL, labels, model_list
from tensorflow_serving.config import model_server_config_pb2


def write_many_makes(folder: Path) -> model_server_config_pb2.ModelServerConfig:
    """Write them all, `half_plus_two` in the versions 123 and 124, which are its `stable` and its `canary`."""
    makers = {
        "half_plus_two/00000123": tf1models.write_half_plus_two,
        "half_plus_two/124": tf1models.write_half_plus_two,
        "half_plus_three/123": lambda version: savedmodels.write_half_plus(version, 3.0),
        "checkpoint/123": _write_checkpoint,
        "constants/123": _write_constants,
        "keras_exported/123": _export_keras,
        # Saved in this way a Keras 3 model loses its variables for TensorFlow Serving, so it has none.
        "keras_saved/123": lambda version: tf.saved_model.save(_keras(tf.keras.layers.Identity()), str(version)),
    }
    for path, make in makers.items():
        (folder / path).parent.mkdir(exist_ok=True)
        make(folder / path)
    names = dict.fromkeys((path.partition("/")[0] for path in makers), "")
    return model_list(folder, **names | {"half_plus_two": f"{ALL} {labels(stable=123, canary=124)}"})


def _write_checkpoint(version: Path) -> None:
    """Saved from a bare trackable; its input may have any shape."""
    root = tf.train.Checkpoint()
    root.v1, root.v2 = tf.Variable(3.0), tf.Variable(2.0)
    root.f = tf.function(lambda x: {"y": root.v1 * root.v2 * x})
    tf.saved_model.save(root, str(version), root.f.get_concrete_function(tf.TensorSpec(None, tf.float32)))


def _write_constants(version: Path) -> None:
    """Signatures that take an input and do not look at it."""
    root = tf.train.Checkpoint()
    any_float = [tf.TensorSpec(None, tf.float32)]
    root.one = tf.function(lambda x: {"y": 1.0}, input_signature=any_float)
    root.two = tf.function(lambda x: {"y": 2.0}, input_signature=any_float)
    tf.saved_model.save(root, str(version), {"serving_default": root.one, "custom_signature_key": root.two})


def _export_keras(version: Path) -> None:
    dense = tf.keras.layers.Dense(1, kernel_initializer="ones", bias_initializer="zeros")
    _keras(dense).export(str(version), verbose=False)


def _keras(*layers: tf.keras.Layer) -> tf.keras.Model:
    return tf.keras.Sequential([tf.keras.layers.Input((1,), name="x"), *layers])
