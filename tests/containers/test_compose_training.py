"""Training in a container: the whole way into the store, TensorBoard, and being stopped."""

from __future__ import annotations

import json
import signal

from processes import wait_until
from stack import REPOSITORY, Stack


def test_up_train_publishes_a_version_that_is_not_roots(stack: Stack, trained: str) -> None:
    assert f"curves      http://127.0.0.1:{stack.environment['TENSORBOARD_PORT']}" in trained
    version = stack.models / "digits" / "1"
    assert (version / "saved_model.pb").is_file()
    assert (version / "saved_model.pb").stat().st_uid == 10001
    manifest = json.loads((version / "assets.extra" / "manifest.json").read_text())
    assert manifest["blessing"] is not None
    head = (REPOSITORY / ".git").exists() and stack.git_head()
    assert manifest["git_commit"] == (head or None)


def test_tensorboard_shows_the_training(stack: Stack, trained: str) -> None:
    started = stack.compose("--profile", "train", "up", "--detach", "--wait", "tensorboard")
    assert started.returncode == 0, started.stderr
    runs = wait_until(lambda: stack.get("TENSORBOARD", "/data/runs").json(), "TensorBoard has read the logs")
    assert any("digits" in run for run in runs)


def test_what_was_trained_survives_down_and_up(stack: Stack, trained: str) -> None:
    stack.down()
    evaluated = stack.compose("run", "--rm", "train", "evaluate", "--json")
    assert evaluated.returncode == 0, evaluated.stderr
    assert json.loads(evaluated.stdout)["accuracy"] > 0.5


def test_docker_stop_keeps_the_checkpoint_and_the_next_run_goes_on(stack: Stack, trained: str) -> None:
    command = ["train", "--name=stopped", "--set", "training.epochs=30"]
    started = stack.compose("run", "--detach", "train", *command)
    assert started.returncode == 0, started.stderr
    number = started.stdout.split()[-1]

    def said() -> str:
        logs = stack.docker("logs", number)
        return logs.stdout + logs.stderr

    try:
        wait_until(lambda: "val_accuracy" in said(), "an epoch is over")
        stack.docker("stop", "--time", "100", number)
        assert "interrupted after epoch" in said()
        assert json.loads(stack.docker("inspect", number).stdout)[0]["State"]["ExitCode"] == 128 + signal.SIGTERM
    finally:
        stack.docker("rm", "--force", number)
    again = stack.compose("run", "--rm", "train", *command)
    assert again.returncode == 0, again.stderr
    assert "resuming" in again.stderr


def test_a_store_that_cannot_be_written_is_refused_with_the_reason(stack: Stack, trained: str) -> None:
    stack.models.chmod(0o555)
    try:
        done = stack.compose("run", "--rm", "train", "publish", "--models", "models/locked")
    finally:
        stack.models.chmod(0o777)
    assert done.returncode == 1
    assert "models/locked" in done.stderr
    assert "Traceback" not in done.stderr
