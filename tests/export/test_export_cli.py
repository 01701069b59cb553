"""The command line: help with examples, one clear message for a user's mistake, and the right exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vitrine_export.datasets.index import DatasetIndex

COMMANDS = ("data", "features", "search", "train", "evaluate", "export", "bless", "publish")


def vitrine_export(*arguments: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [Path(sys.executable).parent / "vitrine-export", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True)


@pytest.mark.parametrize("command", [(), *((name,) for name in COMMANDS)], ids=lambda c: " ".join(c) or "bare")
def test_help_has_examples(command: tuple[str, ...], tmp_path: Path) -> None:
    done = vitrine_export(*command, "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "examples:" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("trian",),
        ("train", "--epochs", "3"),
        ("publish", "--models", "gs://bucket/models"),
        # What was trained is not changed by evaluating or exporting it: such options must not be passed over.
        ("evaluate", "--set", "training.epochs=3"),
        ("export", "--set", "training.epochs=3"),
        ("bless", "--cache", "cache"),
    ],
)
def test_wrong_usage_is_exit_code_2(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = vitrine_export(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train",), "recipes/digits.yaml: no such recipe"),
        (("evaluate", "--name", "digits"), "run `make train`"),
        (("export", "--name", "digits"), "run `make train`"),
        (("bless", "--name", "digits"), "run `make export`"),
        (("publish", "--name", "digits"), "run `make export`"),
    ],
)
def test_a_missing_step_is_one_line_and_exit_code_1(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    done = vitrine_export(*arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""


def test_a_folder_with_one_class_is_one_line_and_leaves_nothing(tmp_path: Path, encode) -> None:
    (tmp_path / "pictures" / "cat").mkdir(parents=True)
    (tmp_path / "pictures" / "cat" / "1.png").write_bytes(encode())
    recipe = Path(__file__).parents[2] / "recipes" / "digits.yaml"
    done = vitrine_export("train", "--recipe", recipe, "--data", "pictures", cwd=tmp_path)
    assert done.returncode == 1
    assert "at least two class folders" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


def test_the_pictures_of_each_class_and_split_are_counted(tmp_path: Path, encode) -> None:
    for split, count in (("train", 3), ("valid", 2), ("test", 1)):
        for seed, label in enumerate(("cat", "dog")):
            (tmp_path / "pictures" / split / label).mkdir(parents=True)
            for number in range(count):
                data = encode(seed=100 * count + 10 * seed + number)
                (tmp_path / "pictures" / split / label / f"{number}.png").write_bytes(data)
    recipe = Path(__file__).parents[2] / "recipes" / "digits.yaml"
    done = vitrine_export("data", "--recipe", recipe, "--data", "pictures", cwd=tmp_path)
    assert done.returncode == 0
    assert " ".join(done.stdout.split()) == "CLASS TRAIN VALIDATION TEST cat 3 2 1 dog 3 2 1"
    assert "12 pictures of 2 classes" in done.stderr
    done = vitrine_export("data", "--recipe", recipe, "--data", "pictures", "--json", cwd=tmp_path)
    assert DatasetIndex.from_json(done.stdout).counts() == {"train": 6, "validation": 4, "test": 2}


def test_what_was_trained_is_found_by_its_recipe_alone(tmp_path: Path) -> None:
    recipe = (Path(__file__).parents[2] / "recipes" / "digits.yaml").read_text(encoding="utf-8")
    without_path = "\n".join(line for line in recipe.splitlines() if line.strip() != "path: data/digits")
    (tmp_path / "mine.yaml").write_text(without_path.replace("source: digits", "layout: auto"), encoding="utf-8")
    done = vitrine_export("evaluate", "--recipe", "mine.yaml", cwd=tmp_path)
    assert "runs/digits: no trained run there" in done.stderr


def test_pictures_other_than_those_of_the_training_are_refused(blessed_candidate: Path, tmp_path: Path) -> None:
    arguments = ("publish", "--name", "digits", "--runs", blessed_candidate.parents[1], "--models", "models")
    trained_on = json.loads((blessed_candidate.parent / "dataset.json").read_text(encoding="utf-8"))["root"]
    refused = vitrine_export(*arguments, "--data", "others", cwd=tmp_path)
    assert refused.returncode == 1
    assert f"--data others: {blessed_candidate.parent} was trained on {trained_on}" in refused.stderr
    assert not (tmp_path / "models").exists()
    assert vitrine_export(*arguments, "--data", trained_on, cwd=tmp_path).returncode == 0


def test_results_are_json_on_stdout_and_talk_is_on_stderr(blessed_candidate: Path, tmp_path: Path) -> None:
    runs = blessed_candidate.parents[1]
    done = vitrine_export("publish", "--name", "digits", "--runs", runs, "--models", tmp_path, "--json", cwd=tmp_path)
    assert done.returncode == 0
    assert json.loads(done.stdout) == {"version": 1, "folder": str(tmp_path / "digits" / "1")}
    done = vitrine_export("evaluate", "--name", "digits", "--runs", runs, "--json", cwd=tmp_path)
    assert 0 <= json.loads(done.stdout)["accuracy"] <= 1
    assert "evaluating" in done.stderr
