"""Searches that train: what they leave behind, and what a dying process costs them."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from processes import wait_until

from vitrine_export.errors import RunError
from vitrine_export.recipe import Recipe, changed, load_recipe
from vitrine_export.search import Outcome, search
from vitrine_export.search.folder import search_folder
from vitrine_export.search.space import grid

RECIPES = Path(__file__).parents[2] / "recipes"
SPACE = {"training.learning_rate": {"choices": [1e-3, 2e-3, 3e-3]}}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory, digits_folder: Path) -> Path:
    """A few digits of four classes: an epoch takes no time."""
    folder = tmp_path_factory.mktemp("few") / "digits"
    for digit in "0146":
        (folder / digit).mkdir(parents=True)
        for path in sorted((digits_folder / digit).iterdir())[:40]:
            shutil.copy(path, folder / digit)
    return folder


def recipe_of(pictures: Path, space: dict[str, Any], **settings: Any) -> Recipe:
    values = {"search": {"space": space, **settings}, "training.epochs": 30}
    return changed(load_recipe(RECIPES / "digits.yaml", data=pictures), values)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> tuple[Recipe, Outcome]:
    """Two learning rates on two sizes, one of them too small for the network; two trials at a time."""
    folder = tmp_path_factory.mktemp("searched")
    usual = load_recipe(RECIPES / "digits.yaml", data=pictures).preprocessing
    space = {
        "learning_rate": {"choices": [1e-2, 1e-9], "sets": ["training.learning_rate"]},
        "preprocessing": {"choices": [usual, "decode|resize(8)|grayscale|value_range(0,1)"]},
    }
    recipe = recipe_of(pictures, space, sampler="grid", epochs=2)
    return recipe, search(recipe, folder / "runs" / "digits.search", cache=folder / "cache", jobs=2)


def test_the_better_learning_rate_wins(searched: tuple[Recipe, Outcome]) -> None:
    outcome = searched[1]
    assert outcome.winner.search is None
    assert outcome.winner.training.learning_rate == 1e-2
    assert outcome.winner.training.epochs == 30
    assert outcome.best.value == min(outcome.best.curve)
    assert len(outcome.best.curve) == 2
    assert len({tuple(result.values.items()) for result in outcome.results.results}) == 4


def test_a_trial_that_fails_says_why_and_stops_nothing(searched: tuple[Recipe, Outcome]) -> None:
    failed = [result for result in searched[1].results.results if result.state == "failed"]
    assert len(failed) == 2
    for result in failed:
        assert "pictures of 8x8 are too small for this network" in result.reason
        assert "resize(8)" in result.values["preprocessing"]


def test_two_jobs_are_two_processes(searched: tuple[Recipe, Outcome]) -> None:
    assert {path.name for path in searched[1].folder.glob("worker-*.log")} == {"worker-0.log", "worker-1.log"}


def test_table_pictures_and_summary(searched: tuple[Recipe, Outcome]) -> None:
    outcome = searched[1]
    assert [len(row) for row in outcome.rows] == [len(outcome.headers)] * 4
    assert outcome.rows[0][0] == str(outcome.best.trial)
    with (outcome.folder / "trials.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[0]["val_loss"]) == outcome.best.value
    assert [row["state"] for row in rows] == ["complete", "complete", "failed", "failed"]
    assert json.loads((outcome.folder / "trials.json").read_text()) == json.loads(json.dumps(outcome.as_json()))
    summary = (outcome.folder / "summary.md").read_text()
    for name in ("trials.png", "epochs.png", "parameters.png", "combinations.png"):
        assert f"({name})" in summary
        with Image.open(outcome.folder / name) as picture:
            assert len(picture.convert("RGB").getcolors(1 << 24)) > 10


def test_a_finished_search_is_not_run_again(searched: tuple[Recipe, Outcome], tmp_path: Path) -> None:
    recipe, outcome = searched
    for log in outcome.folder.glob("worker-*.log"):
        log.unlink()
    again = search(recipe, outcome.folder, cache=tmp_path)
    assert again.results == outcome.results
    assert again.winner == outcome.winner
    assert not list(outcome.folder.glob("worker-*.log"))


def test_a_search_never_mixes_with_another(searched: tuple[Recipe, Outcome], pictures: Path, tmp_path: Path) -> None:
    recipe, outcome = searched
    before = (outcome.folder / "trials.json").read_bytes()
    other = changed(recipe, {"training.batch_size": 16})
    with pytest.raises(RunError, match=r"training.batch_size was 32, is 16\n.*--fresh"):
        search(other, outcome.folder, cache=tmp_path)
    fewer = tmp_path / "digits"
    shutil.copytree(pictures, fewer)
    shutil.rmtree(fewer / "6")
    elsewhere = changed(recipe, {"dataset.path": str(fewer)})
    with pytest.raises(RunError, match="the pictures, their labels or their splits are others"):
        search(elsewhere, outcome.folder, cache=tmp_path)
    assert (outcome.folder / "trials.json").read_bytes() == before


def test_a_folder_that_holds_something_else(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "diary.txt").write_text("dear")
    with pytest.raises(RunError, match="holds files that are no search"):
        search(recipe_of(pictures, SPACE), tmp_path, cache=tmp_path, fresh=True)
    assert (tmp_path / "diary.txt").read_text() == "dear"


def test_a_folder_that_cannot_be_written(searched: tuple[Recipe, Outcome], pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"cannot write the search to .*file/digits.search: Not a directory"):
        search(recipe_of(pictures, SPACE), tmp_path / "file" / "digits.search", cache=tmp_path)
    recipe, outcome = searched
    folder = Path(shutil.copytree(outcome.folder, tmp_path / "copied"))
    (folder / "trials.csv").unlink()
    (folder / "trials.csv").mkdir()
    with pytest.raises(RunError, match=r"cannot write the search to .*copied: Is a directory"):
        search(recipe, folder, cache=tmp_path)


def test_a_hopeless_trial_ends_early(pictures: Path, tmp_path: Path) -> None:
    space = {"training.learning_rate": {"choices": [3e-3, 1e-9]}}
    settings = {"sampler": "grid", "epochs": 10, "pruner": "median", "metric": "val_accuracy"}
    seed = next(
        seed
        for seed in range(20)
        if grid(recipe_of(pictures, space, seed=seed, **settings).search)[0]["training.learning_rate"] == 3e-3
    )
    outcome = search(recipe_of(pictures, space, seed=seed, **settings), tmp_path / "search", cache=tmp_path, jobs=1)
    good, hopeless = outcome.results.results
    assert (good.state, len(good.curve)) == ("complete", 10)
    assert hopeless.state == "pruned"
    assert len(hopeless.curve) < 10
    assert outcome.winner.training.learning_rate == 3e-3


def test_nothing_succeeds(pictures: Path, tmp_path: Path) -> None:
    recipe = recipe_of(pictures, {"training.learning_rate": {"choices": [1e-3]}}, sampler="grid")
    recipe = changed(recipe, {"preprocessing": "decode|resize(8)|grayscale|value_range(0,1)"})
    with pytest.raises(RunError, match=r"none of 1 trials succeeded:\n.*too small"):
        search(recipe, tmp_path / "search", cache=tmp_path)


# Processes that die


def worker_ids(parent: int) -> list[int]:
    """The worker processes of a search that runs in the process `parent`."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            state = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if state[0] != "Z" and int(state[1]) == parent and b"vitrine_export.search.worker" in command:
            found.append(int(folder.name))
    return found


def finished_trials(folder: Path) -> int:
    file = folder / "trials.json"
    return len(json.loads(file.read_text())["trials"]) if file.exists() else 0


def test_a_worker_that_is_killed_costs_one_trial(pictures: Path, tmp_path: Path) -> None:
    folder = tmp_path / "search"

    def kill() -> None:
        wait_until(lambda: finished_trials(folder) or None, "a first trial", 300)
        os.kill(worker_ids(os.getpid())[0], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    outcome = search(recipe_of(pictures, SPACE, sampler="grid", epochs=4), folder, cache=tmp_path / "cache", jobs=1)
    killer.join()
    states = sorted(result.state for result in outcome.results.results)
    assert states == ["complete", "complete", "failed"]
    failed = next(result for result in outcome.results.results if result.state == "failed")
    assert "killed (SIGKILL), as the kernel does where memory runs out" in failed.reason


def test_a_search_that_is_stopped_and_killed_goes_on(pictures: Path, tmp_path: Path) -> None:
    folder, recipe_file = tmp_path / "search", tmp_path / "recipe.json"
    recipe = recipe_of(pictures, SPACE, sampler="grid", epochs=4)
    recipe_file.write_text(recipe.model_dump_json())
    program = (
        "import pathlib, sys; from vitrine_export.recipe import Recipe; from vitrine_export.search import search; "
        "recipe, folder, cache = map(pathlib.Path, sys.argv[1:]); "
        "search(Recipe.model_validate_json(recipe.read_text()), folder, cache=cache, jobs=1)"
    )
    command = [sys.executable, "-c", program, str(recipe_file), str(folder), str(tmp_path / "cache")]

    def run_until(trials: int, end: signal.Signals) -> str:
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, encoding="utf-8") as process:
            wait_until(lambda: finished_trials(folder) >= trials or process.poll() is not None, "a finished trial", 300)
            (worker,) = worker_ids(process.pid)
            process.send_signal(end)
            said = process.communicate()[1]
        assert process.returncode != 0, said
        wait_until(lambda: not Path(f"/proc/{worker}").exists(), "the end of the worker of a search that is over")
        return said

    said = run_until(1, signal.SIGINT)
    # On a busy machine the second may be done before it is stopped.
    assert re.search(r"search stopped: [12] of 3 trials kept", said), said
    kept = json.loads((folder / "trials.json").read_text())["trials"]
    run_until(2, signal.SIGKILL)
    outcome = search(recipe, folder, cache=tmp_path / "cache", jobs=1)
    results = outcome.results.results
    assert [result.trial for result in results] == [0, 1, 2]
    assert sorted(result.values["training.learning_rate"] for result in results) == [1e-3, 2e-3, 3e-3]
    assert {result.state for result in results} == {"complete"}
    assert json.loads(json.dumps(outcome.as_json()))["trials"][outcome.results.ranked().index(results[0])] == kept[0]


def test_two_searches_in_one_folder(pictures: Path, tmp_path: Path) -> None:
    recipe = recipe_of(pictures, SPACE)
    with (
        search_folder(tmp_path / "search", recipe, fresh=False),
        pytest.raises(RunError, match="another search is running in it"),
    ):
        search(recipe, tmp_path / "search", cache=tmp_path)
    assert not (tmp_path / "search").exists()
