"""What TensorBoard shows of a training is read back with TensorBoard's own reader."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import requests
import tensorflow as tf
from processes import free_port, wait_until
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2
from training_runs import few_pictures, recipe_for

from vitrine_export import training
from vitrine_export.training.checkpoint import Checkpoint, State


def events(folder: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    accumulator.Reload()
    return accumulator


def scalars(folder: Path, tag: str) -> list[tuple[int, float]]:
    found = events(folder).Tensors(tag)
    return [(event.step, float(tf.make_ndarray(event.tensor_proto))) for event in found]


def test_the_program_shows_a_trainings_logs(tmp_path: Path) -> None:
    with tf.summary.create_file_writer(str(tmp_path / "digits")).as_default():
        tf.summary.scalar("loss", 1.0, step=1)
    port = free_port()
    command = [Path(sys.executable).with_name("tensorboard"), "--logdir", tmp_path, "--port", str(port)]
    with (tmp_path / "log").open("wb") as log:
        program = subprocess.Popen(command, stdout=log, stderr=log)
    try:

        def runs() -> list[str]:
            assert program.poll() is None, (tmp_path / "log").read_text()
            try:
                return requests.get(f"http://localhost:{port}/data/runs", timeout=30).json()
            except requests.ConnectionError:
                return []

        assert wait_until(runs, "TensorBoard has read the logs") == ["digits"]
    finally:
        program.terminate()
        program.wait()


def test_curves_pictures_and_hyperparameters(
    digits_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_for(
        few_pictures(digits_folder, tmp_path / "few"), {"training.epochs": 3, "augmentation": "rotate(10)"}
    )
    write = Checkpoint.write

    def interrupted(self: Checkpoint, state: State) -> None:
        write(self, state)
        if state.epoch == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt, match="interrupted after epoch 2"):
        # Ctrl-C just after the second epoch, made certain.
        patch.setattr(Checkpoint, "write", interrupted)
        training.train(recipe, tmp_path / "runs" / "digits")
    run = training.train(recipe, tmp_path / "runs" / "digits")
    # The resumed training's events are in the interrupted one's folder.
    [log] = (tmp_path / "logs" / "digits").iterdir()
    history = json.loads((run.folder / "history.json").read_text())
    for split, tag, name in (
        ("train", "loss", "loss"),
        ("train", "accuracy", "accuracy"),
        ("train", "learning_rate", "learning_rate"),
        ("validation", "loss", "val_loss"),
        ("validation", "accuracy", "val_accuracy"),
    ):
        expected = [(epoch + 1, pytest.approx(value, rel=1e-6)) for epoch, value in enumerate(history[name])]
        assert scalars(log / split, tag) == expected
    [samples] = events(log / "train").Tensors("augmented")
    width, height, *pngs = samples.tensor_proto.string_val
    assert (width, height, len(pngs)) == (b"32", b"32", 12)
    [matrix] = events(log / "validation").Tensors("confusion_matrix")
    assert matrix.tensor_proto.string_val[2].startswith(b"\x89PNG")
    summaries = events(log).SummaryMetadata("_hparams_/session_start_info")
    shown = plugin_data_pb2.HParamsPluginData.FromString(summaries.plugin_data.content).session_start_info.hparams
    assert shown["model.name"].string_value == "lenet"
    assert shown["training.learning_rate"].number_value == 0.002
    assert shown["training.batch_size"].number_value == 32
    assert scalars(log, "best/val_loss") == [(3, pytest.approx(min(history["val_loss"])))]
