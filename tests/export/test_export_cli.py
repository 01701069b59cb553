"""The command line: help with examples, one clear message for a user's mistake, and the right exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

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
    "arguments", [(), ("trian",), ("train", "--epochs", "3"), ("publish", "--models", "gs://bucket/models")]
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


def test_results_are_json_on_stdout_and_talk_is_on_stderr(blessed_candidate: Path, tmp_path: Path) -> None:
    runs = blessed_candidate.parents[1]
    done = vitrine_export("publish", "--name", "digits", "--runs", runs, "--models", tmp_path, "--json", cwd=tmp_path)
    assert done.returncode == 0
    assert json.loads(done.stdout) == {"version": 1, "folder": str(tmp_path / "digits" / "1")}
    done = vitrine_export("evaluate", "--name", "digits", "--runs", runs, "--json", cwd=tmp_path)
    assert 0 <= json.loads(done.stdout)["accuracy"] <= 1
    assert "evaluating" in done.stderr
