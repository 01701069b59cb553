"""A training that was killed or interrupted goes on where it was, to the same end."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from processes import wait_until
from training_runs import equal_weights, few_pictures, recipe_for, started

from vitrine_export import training
from vitrine_export.datasets.prepare import prepare_dataset
from vitrine_export.errors import RunError
from vitrine_export.preprocessing import Preprocessing
from vitrine_export.recipe import Recipe
from vitrine_export.runs import Run

TRAIN = """
import os, signal, sys
from pathlib import Path
from vitrine_export.errors import ExportError
from vitrine_export.recipe import Recipe
from vitrine_export.training import train

folder, renames = Path(sys.argv[2]), []

def kill(event, arguments):
    if event == "os.rename" and str(arguments[1]).endswith(".checkpoint"):
        renames.append(arguments)
        if len(renames) == int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(kill)
try:
    train(Recipe.model_validate_json(sys.argv[1]), folder)
except KeyboardInterrupt as error:
    print(error)
    sys.exit(130)
"""
RANDOM = {
    "training.epochs": 4,
    "training.schedule": "plateau",
    "training.early_stopping": {"patience": 3},
    "augmentation": "rotate(10)|brightness(0.1)",
    "model.dropout": 0.3,
}


@pytest.fixture(scope="module")
def pictures(digits_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return few_pictures(digits_folder, tmp_path_factory.mktemp("resume") / "few")


class InterruptAt(keras.callbacks.Callback):
    """Ctrl-C in the middle of an epoch, the first being 0."""

    def __init__(self, epoch: int) -> None:
        super().__init__()
        self._epoch = epoch

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if epoch == self._epoch:
            raise KeyboardInterrupt


def fit(recipe: Recipe, folder: Path, **options: Any) -> tuple[keras.Model, dict[str, list[Any]]]:
    preprocessing = Preprocessing(recipe.pipeline)
    index = prepare_dataset(recipe.dataset, preprocessing)
    return training.fit(recipe, index, preprocessing, cache=folder / "cache", **options)


def history_of(run: Run) -> dict[str, list[Any]]:
    return json.loads((run.folder / "history.json").read_text())


def test_a_killed_training_ends_as_if_nothing_had_happened(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = recipe_for(pictures, RANDOM)
    folder = tmp_path / "runs" / "digits"
    # Killed when the third epoch's checkpoint is about to take the second one's place.
    killed = started(TRAIN, recipe.model_dump_json(), folder, 3, environment=os.environ, output=tmp_path / "said")
    assert killed.wait(300) == -signal.SIGKILL, (tmp_path / "said").read_text()
    assert not folder.exists()
    resumed = training.train(recipe, folder)
    assert "resuming at epoch 3 of 4; --fresh starts anew" in capsys.readouterr().err
    whole = training.train(recipe, tmp_path / "whole" / "digits")
    assert history_of(resumed) == history_of(whole)
    assert equal_weights(resumed.network(), whole.network())
    assert [path.name for path in folder.parent.iterdir()] == ["digits"], "no checkpoint, no leftovers"


def test_an_interrupt_that_python_drops_is_heard_after_the_epoch(pictures: Path, tmp_path: Path) -> None:
    # Ctrl-C while an object's finalizer runs, made certain: an exception that is raised there goes nowhere.
    finalized = "type('Finalized', (), {'__del__': lambda self: signal.raise_signal(signal.SIGINT)})()"
    process = started(
        TRAIN.replace("os.kill(os.getpid(), signal.SIGKILL)", finalized),
        recipe_for(pictures, RANDOM).model_dump_json(),
        tmp_path / "runs" / "digits",
        2,
        environment=os.environ,
        output=tmp_path / "said",
    )
    assert process.wait(300) == 130, (tmp_path / "said").read_text()
    said = (tmp_path / "said").read_text()
    assert "Exception ignored in" in said
    assert "interrupted after epoch 2; run the same command to go on" in said


@pytest.mark.parametrize(("signal_sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_training_says_how_to_go_on(
    pictures: Path, tmp_path: Path, signal_sent: signal.Signals, code: int
) -> None:
    recipe = recipe_for(pictures, {"training.epochs": 10_000})
    checkpoint = tmp_path / "runs" / "digits.checkpoint"
    process = started(
        TRAIN,
        recipe.model_dump_json(),
        tmp_path / "runs" / "digits",
        0,
        environment=os.environ,
        output=tmp_path / "said",
    )
    try:
        wait_until(checkpoint.exists, "the first checkpoint")
        process.send_signal(signal_sent)
        assert process.wait(120) == code
    finally:
        process.kill()
    with np.load(checkpoint) as kept:
        done = json.loads(kept["state"].tobytes())["epoch"]
    assert f"interrupted after epoch {done}; run the same command to go on" in (tmp_path / "said").read_text()
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["digits.checkpoint"]


def test_fine_tuning_goes_on_too(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = recipe_for(
        pictures,
        {
            "preprocessing": "decode|resize(32)",
            "model": {
                "name": "transfer",
                "backbone": "keras.applications/MobileNetV2",
                "weights": None,
                "arguments": {"alpha": 0.35},
            },
            "training.early_stopping": {"patience": 5},
            "training.fine_tune": {"epochs": 2, "layers": 2, "learning_rate": 0.001},
        },
    )
    checkpoint = tmp_path / "checkpoint"
    whole, history = fit(recipe, tmp_path)
    assert history["stage"] == ["head", "head", "fine_tune", "fine_tune"]
    with pytest.raises(KeyboardInterrupt):
        fit(recipe, tmp_path, checkpoint=checkpoint, callbacks=[InterruptAt(3)])
    capsys.readouterr()
    resumed, resumed_history = fit(recipe, tmp_path, checkpoint=checkpoint)
    said = capsys.readouterr().err
    assert "resuming at epoch 2 of 2 of fine-tuning" in said
    assert resumed_history == history
    assert equal_weights(resumed, whole)


def test_a_checkpoint_of_something_else_is_not_used(
    pictures: Path, digits_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = tmp_path / "checkpoint"
    options: dict[str, Any] = {"checkpoint": checkpoint, "callbacks": [InterruptAt(1)]}

    def said_by(recipe: Recipe) -> str:
        capsys.readouterr()
        with pytest.raises(KeyboardInterrupt):
            fit(recipe, tmp_path, **options)
        return capsys.readouterr().err

    recipe = recipe_for(pictures)
    assert str(checkpoint) not in said_by(recipe)
    other = said_by(recipe_for(pictures, {"training.learning_rate": 0.001}))
    assert f"{checkpoint}: of another recipe (training.learning_rate); starting anew" in other
    more = few_pictures(digits_folder, tmp_path / "more", 9)
    pictures_differ = said_by(recipe_for(more, {"training.learning_rate": 0.001}))
    assert f"{checkpoint}: of other pictures; starting anew" in pictures_differ
    checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    assert f"{checkpoint}: damaged; starting anew" in said_by(recipe)


def test_fresh_starts_anew(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = recipe_for(pictures)
    folder = tmp_path / "runs" / "digits"
    with pytest.raises(KeyboardInterrupt):
        fit(recipe, tmp_path, checkpoint=tmp_path / "runs" / "digits.checkpoint", callbacks=[InterruptAt(1)])
    capsys.readouterr()
    run = training.train(recipe, folder, fresh=True)
    assert "resuming" not in capsys.readouterr().err
    assert len(history_of(run)["loss"]) == 2


def test_a_checkpoint_that_cannot_be_written(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"cannot write the checkpoint to .*file/checkpoint"):
        fit(recipe_for(pictures), tmp_path, checkpoint=tmp_path / "file" / "checkpoint")
