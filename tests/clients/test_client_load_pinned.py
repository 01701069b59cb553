"""The model and version that load asks for, where a server's configuration says which are pinned."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vitrine_client.load.__main__ import ask_what_is_pinned


@pytest.fixture
def pinned(tmp_path: Path) -> str:
    path = tmp_path / "pinned"
    path.write_text("digits 3\nflowers 12\n")
    return str(path)


@pytest.mark.parametrize(
    ("said", "model", "version"),
    [
        ({}, "digits", "3"),
        ({"MODEL": ""}, "digits", "3"),
        ({"MODEL": "flowers"}, "flowers", "12"),
        ({"MODEL": "flowers", "VITRINE_MODEL_VERSION": "11"}, "flowers", "11"),
        ({"MODEL": "another"}, "another", ""),
    ],
)
def test_what_nobody_says_is_what_is_pinned(pinned: str, said: dict[str, str], model: str, version: str) -> None:
    environment = {"VITRINE_PINNED": pinned, **said}
    ask_what_is_pinned(environment)
    assert (environment["MODEL"], environment["VITRINE_MODEL_VERSION"]) == (model, version)


def test_without_such_a_file_nothing_is_changed() -> None:
    environment = {"MODEL": "flowers"}
    ask_what_is_pinned(environment)
    assert environment == {"MODEL": "flowers"}


@pytest.mark.parametrize("content", [None, "", "digits\n"])
def test_a_file_that_says_nothing_is_named(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "pinned"
    if content is not None:
        path.write_text(content)
    done = subprocess.run(
        [sys.executable, "-m", "vitrine_client.load", "--help"],
        env={**os.environ, "VITRINE_PINNED": str(path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert f"VITRINE_PINNED: '{path}' has no lines of NAME VERSION" in done.stderr
    assert "Traceback" not in done.stderr
