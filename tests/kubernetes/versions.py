"""A model store with versions for rollouts: good ones, and one for each way in which a version can be bad."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.data.experimental.ops.testing import sleep

from vitrine_export import manifest
from vitrine_export.exporting import export
from vitrine_export.models import LOGITS
from vitrine_export.runs import Run
from vitrine_serving.embedded.inference.warmup import FILE as WARMUP_FILE

GOOD, NEXT, WRONG, BROKEN, SLOW, UNBLESSED, INCOMPATIBLE, MISMATCHED = range(1, 9)
MISSING_SIGNATURE = "features"
SLOWNESS_SECONDS = 0.06


def write_versions(store: Path, run: Run, blessed: Path) -> Path:
    """Fill `store` with versions of `digits`; returns it.

    GOOD and NEXT are copies of `blessed`, the export of `run`. Of the others all are blessed but UNBLESSED, and all
    but BROKEN load: WRONG gives another label to every picture and says so in its golden answers, BROKEN has lost a
    part of its variables, SLOW answers as GOOD does, SLOWNESS_SECONDS later, INCOMPATIBLE lacks MISSING_SIGNATURE,
    MISMATCHED does not give its golden answers.
    """
    model = store / "digits"
    for version in (GOOD, NEXT, BROKEN, UNBLESSED, INCOMPATIBLE, MISMATCHED):
        shutil.copytree(blessed, model / str(version))
    _export_altered(run, _with_labels_moved, model / str(WRONG), blessed)
    _export_altered(run, _slowed, model / str(SLOW), blessed)
    _cut_variables(model / str(BROKEN))
    _change_manifest(model / str(UNBLESSED), blessing=None)
    _remove_signature(model / str(INCOMPATIBLE))
    _move_golden_answers(model / str(MISMATCHED))
    return store


@dataclass(frozen=True)
class _AlteredRun(Run):
    """A run whose network is changed on its way into the export."""

    alter: Callable[[keras.Model], keras.Model]
    into: Path

    @property
    def candidate(self) -> Path:
        return self.into

    def network(self) -> Any:
        return self.alter(super().network())


def _export_altered(run: Run, alter: Callable[[keras.Model], keras.Model], version: Path, blessed: Path) -> None:
    export(_AlteredRun(run.folder, alter, version))
    # Blessing takes ten seconds of a process of its own.
    manifest.record_blessing(version, manifest.read(version), manifest.read(blessed)["blessing"])


def _with_labels_moved(network: keras.Model) -> keras.Model:
    """As sure of itself as before, and wrong each time: every class has its neighbour's weights."""
    logits = network.get_layer(LOGITS)
    logits.set_weights([np.roll(weights, 1, axis=-1) for weights in logits.get_weights()])
    return network


class _Pause(keras.layers.Layer):
    """Passes images on, SLOWNESS_SECONDS later; it costs no CPU, of which the cluster may have little."""

    def call(self, images: tf.Tensor) -> tf.Tensor:
        # It pauses before the only element, and again before the end.
        ticks = tf.data.Dataset.range(1).apply(sleep(int(SLOWNESS_SECONDS / 2 * 1e6)))
        paused = ticks.reduce(tf.constant(0, tf.int64), lambda total, tick: total + tick)
        return images + tf.cast(paused, images.dtype)


def _slowed(network: keras.Model) -> keras.Model:
    inputs = keras.Input(network.input_shape[1:])
    values = _Pause()(inputs)
    for layer in network.layers[1:]:
        values = layer(values)
    return keras.Model(inputs, values, name=network.name)


def _cut_variables(version: Path) -> None:
    [file] = (version / "variables").glob("variables.data-*")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def _remove_signature(version: Path) -> None:
    from tensorflow.core.protobuf import saved_model_pb2

    file = version / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    del saved.meta_graphs[0].signature_def[MISSING_SIGNATURE]
    file.write_bytes(saved.SerializeToString())
    # Warm-up asks every signature there was.
    (version / WARMUP_FILE).unlink()
    signatures = manifest.read(version)["signatures"]
    _change_manifest(
        version, signatures={name: of for name, of in signatures.items() if name != MISSING_SIGNATURE}, warmup_records=0
    )


def _move_golden_answers(version: Path) -> None:
    golden = manifest.read(version)["golden"]
    moved = [{**entry, "probabilities": np.roll(entry["probabilities"], 1).tolist()} for entry in golden]
    _change_manifest(version, golden=moved)


def _change_manifest(version: Path, **values: Any) -> None:
    manifest.write(version, {**manifest.read(version), **values})
