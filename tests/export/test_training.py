"""A run is reproducible, whole or not there, and says what it left out."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from vitrine_export import training
from vitrine_export.datasets.prepare import prepare_dataset
from vitrine_export.errors import RecipeError, RunError
from vitrine_export.models import build
from vitrine_export.preprocessing import Preprocessing
from vitrine_export.recipe import LeNet, changed, load_recipe
from vitrine_export.runs import Run, fresh_run

RECIPES = Path(__file__).parents[2] / "recipes"


def quick(data: Path, epochs: int = 1):
    loaded = load_recipe(RECIPES / "digits.yaml", data=data)
    return loaded.model_copy(update={"training": loaded.training.model_copy(update={"epochs": epochs})})


def test_a_run_leaves_figures_pictures_and_the_network(digits_run: Run) -> None:
    metrics = digits_run.metrics()
    assert metrics["accuracy"] > 0.8
    assert np.sum(metrics["confusion_matrix"]) == metrics["pictures"] == digits_run.dataset().counts()["test"]
    assert set(metrics["per_class"]) == {str(digit) for digit in range(10)}
    assert digits_run.network_file.is_file()
    assert {"curves.png", "confusion_matrix.png", "predictions.png"} <= {
        path.name for path in digits_run.plots.iterdir()
    }
    history = json.loads((digits_run.folder / "history.json").read_text())
    assert len(history["val_accuracy"]) == 3
    assert history["stage"] == ["network"] * 3
    assert "61,706 parameters, 61,706 of them learn" in (digits_run.folder / "summary.txt").read_text()


def test_the_same_seed_gives_the_same_network(digits_folder: Path, tmp_path: Path) -> None:
    first = training.train(quick(digits_folder), tmp_path / "first").metrics()
    second = training.train(quick(digits_folder), tmp_path / "second").metrics()
    assert first == second


def test_broken_pictures_are_skipped_named_and_do_not_stop_training(
    digits_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = tmp_path / "pictures"
    shutil.copytree(digits_folder, pictures)
    (pictures / "3" / "broken.jpg").write_bytes(b"\xff\xd8 not much of a JPEG")
    run = training.train(quick(pictures), tmp_path / "run")
    assert [entry.path for entry in run.dataset().skipped] == ["3/broken.jpg"]
    said = capsys.readouterr().err
    assert "skipped 1 files" in said
    assert "3/broken.jpg: cannot be decoded" in said


def test_a_picture_that_vanishes_after_the_check(digits_folder: Path, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    shutil.copytree(digits_folder, pictures)
    recipe = quick(pictures)
    index = prepare_dataset(recipe.dataset, Preprocessing(recipe.preprocessing))
    gone = index.file(index.split("train")[0])

    def prepared(*_: object):
        gone.unlink()
        return index

    with pytest.MonkeyPatch.context() as patch:
        # The moment between the check and the first epoch, made certain.
        patch.setattr(training.run, "prepare_dataset", prepared)
        with pytest.raises(RunError, match=f"training failed: .*{gone.name}"):
            training.train(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_real_photos_train_with_the_cnn(shared_data: Path, tmp_path: Path) -> None:
    pictures = tmp_path / "flowers"
    for folder in sorted((shared_data / "flowers").iterdir()):
        if folder.is_dir():
            (pictures / folder.name).mkdir(parents=True)
            for path in sorted(folder.glob("*.jpg"))[:16]:
                shutil.copy(path, pictures / folder.name)
    recipe = changed(
        quick(pictures),
        {"preprocessing": "decode|resize(48)|value_range(0,1)", "model": {"name": "cnn", "filters": [8, 16]}},
    )
    run = training.train(recipe, tmp_path / "runs" / "flowers")
    assert run.dataset().labels == ("daisy", "dandelion", "roses", "sunflowers", "tulips")
    assert 0 <= run.metrics()["accuracy"] <= 1


def test_an_interrupted_run_leaves_the_old_one(tmp_path: Path) -> None:
    with fresh_run(tmp_path / "digits") as run:
        (run.folder / "recipe.json").write_text("old")
    with pytest.raises(KeyboardInterrupt), fresh_run(tmp_path / "digits") as run:
        (run.folder / "recipe.json").write_text("new")
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["digits"]
    assert (tmp_path / "digits" / "recipe.json").read_text() == "old"


def test_killed_between_the_old_run_and_the_new(tmp_path: Path) -> None:
    with fresh_run(tmp_path / "digits") as run:
        (run.folder / "recipe.json").write_text("old")
    child = os.fork()
    if child == 0:

        def hook(event: str, arguments: tuple[object, ...]) -> None:
            if event == "os.rename" and str(arguments[0]).endswith("/new"):
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        with fresh_run(tmp_path / "digits"):
            pass
    os.waitpid(child, 0)
    assert not (tmp_path / "digits").exists()
    with pytest.raises(KeyboardInterrupt), fresh_run(tmp_path / "digits"):
        raise KeyboardInterrupt
    assert (tmp_path / "digits" / "recipe.json").read_text() == "old"


@pytest.mark.parametrize("content", [b"{", b"\xff"], ids=["half", "binary"])
@pytest.mark.parametrize("name", ["dataset.json", "metrics.json", "recipe.json", "model.keras"])
def test_a_damaged_file_of_a_run_is_named(digits_run: Run, tmp_path: Path, name: str, content: bytes) -> None:
    run = Run(Path(shutil.copytree(digits_run.folder, tmp_path / "damaged")))
    (run.folder / name).write_bytes(content)
    with pytest.raises(RunError, match="another version" if (name, content) == ("recipe.json", b"{") else name):
        run.recipe(), run.dataset(), run.metrics(), run.network()


def test_what_a_killed_run_left_behind_is_removed_by_the_next(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        with fresh_run(tmp_path / "digits") as run:
            (run.folder / "recipe.json").write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert not (tmp_path / "digits").exists()
    assert list(tmp_path.iterdir()) != []
    with fresh_run(tmp_path / "digits"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["digits"]


def test_a_run_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot write the run to"), fresh_run(tmp_path / "file" / "digits"):
        pass


def test_a_run_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="run `make train`"):
        Run(tmp_path / "none").recipe()


def test_pictures_too_small_for_the_network() -> None:
    with pytest.raises(RecipeError, match="pictures of 8x8 are too small for this network"):
        build(LeNet(name="lenet"), (8, 8, 1), classes=10)
