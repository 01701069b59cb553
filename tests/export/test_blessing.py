"""An export that would fail in production is found before it is published, and kept aside with the reason."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import keras
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from vitrine_export import manifest
from vitrine_export.blessing import bless
from vitrine_export.errors import BlessingError, RunError


def rejected(candidate: Path, match: str) -> Path:
    """Bless, expect a refusal; returns the folder that the export was set aside in."""
    with pytest.raises(BlessingError, match=match):
        bless(candidate)
    assert not candidate.exists()
    [aside] = candidate.parent.parent.glob("run.rejected-*")
    return aside


def test_a_good_export_is_blessed_and_measured(candidate: Path) -> None:
    outcome = bless(candidate)
    assert outcome["golden"] == 16
    assert outcome["max_difference"] < 1e-5
    assert all(milliseconds > 0 for milliseconds in outcome["latency_ms"].values())
    described = manifest.read(candidate)
    assert described["blessing"] == outcome
    assert manifest.verify(candidate, described) == []


def test_a_file_changed_since_the_export(candidate: Path) -> None:
    with (candidate / "assets" / "labels.txt").open("a") as labels:
        labels.write("eleven\n")
    aside = rejected(candidate, "assets/labels.txt: content changed")
    assert "labels.txt" in json.loads((aside / "REASON.json").read_text())["reason"]


def test_answers_that_differ_from_training(candidate: Path) -> None:
    described = manifest.read(candidate)
    described["golden"][3]["probabilities"][0] += 0.01
    manifest.write(candidate, described)
    rejected(candidate, "golden pictures: probabilities differ by 1.00e-02")


def test_a_broken_warmup_file(candidate: Path) -> None:
    (candidate / "assets.extra" / "tf_serving_warmup_requests").write_bytes(b"not a TFRecord")
    manifest.write(candidate, manifest.read(candidate))
    rejected(candidate, "warmup")


def test_a_damaged_graph(candidate: Path) -> None:
    (candidate / "saved_model.pb").write_bytes(b"\x00garbage")
    manifest.write(candidate, manifest.read(candidate))
    rejected(candidate, "not blessed")


def test_a_keras_model_hung_on_a_module_loads_in_python_and_is_not_blessed(candidate: Path) -> None:
    """What TensorFlow Serving answers "Could not find variable" to, though tf.saved_model.load runs it."""

    class Untracked(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(10)])

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
        def __call__(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
            pixels = tf.zeros([tf.size(image_bytes), 4])
            return {"probabilities": tf.nn.softmax(self.network(pixels))}

    module = Untracked()
    labels = (candidate / "assets" / "labels.txt").read_bytes()
    for part in ("variables", "assets"):
        shutil.rmtree(candidate / part)
    signatures = dict.fromkeys(("serving_default", "probabilities", "pixels", "features", "classify"), module.__call__)
    tf.saved_model.save(module, str(candidate), signatures=signatures)
    in_python = tf.saved_model.load(str(candidate)).signatures["probabilities"](tf.constant([b"x"]))
    assert in_python["probabilities"].shape == (1, 10)
    updater = tf.compat.v1.saved_model.signature_def_utils.MethodNameUpdater(str(candidate))
    updater.replace_method_name(signature_key="classify", method_name="tensorflow/serving/classify")
    updater.save()
    (candidate / "assets").mkdir(exist_ok=True)
    (candidate / "assets" / "labels.txt").write_bytes(labels)
    (candidate / "assets.extra" / "tf_serving_warmup_requests").unlink()
    manifest.write(candidate, {**manifest.read(candidate), "warmup_records": 0})
    rejected(candidate, "(?i)could not find variable|not found|uninitialized")


def test_a_function_that_must_be_compiled_by_xla(candidate: Path) -> None:
    """TensorFlow Serving disables XLA: such a signature fails there on its first request."""
    path = candidate / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    saved.meta_graphs[0].graph_def.library.function[0].attr["_XlaMustCompile"].b = True
    path.write_bytes(saved.SerializeToString())
    manifest.write(candidate, manifest.read(candidate))
    rejected(candidate, "jit_compile=True")


def test_an_export_swapped_while_it_is_checked(candidate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blessing would be another model's."""
    real_run = subprocess.run

    def run_and_swap(*arguments, **options):
        done = real_run(*arguments, **options)
        (candidate / "assets" / "labels.txt").write_text("of another training\n")
        manifest.write(candidate, {**manifest.read(candidate), "description": "another", "blessing": None})
        return done

    monkeypatch.setattr("vitrine_export.blessing.subprocess.run", run_and_swap)
    with pytest.raises(BlessingError, match="was changed while it was checked"):
        bless(candidate)
    assert manifest.read(candidate)["blessing"] is None


def test_nothing_to_bless(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no export there"):
        bless(tmp_path)
