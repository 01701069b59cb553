"""What `make up` refuses before it starts anything."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from stack import REPOSITORY, Stack


@pytest.mark.parametrize(
    ("profile", "reason"),
    [
        ("cpu embedded", "only one of cpu embedded at a time"),
        ("cpus", "PROFILE=cpus is unknown; there are gpu, cpu, embedded, monitoring, load, train"),
        ("load", "no server is up; name one too"),
    ],
)
def test_profiles_that_make_no_sense_are_refused(stack: Stack, profile: str, reason: str) -> None:
    stack.down()
    done = stack.make("up", f"PROFILE={profile}")
    assert done.returncode != 0
    assert reason in done.stderr
    assert stack.compose("--profile", "*", "ps", "--all", "--quiet").stdout == ""


@pytest.mark.parametrize("cpus", ["1.5", "0", "100000", "two"])
def test_cpus_that_a_server_cannot_have_are_refused(stack: Stack, cpus: str) -> None:
    limited = Stack({**stack.environment, "SERVING_CPUS": cpus}, stack.folder)
    done = limited.make("up", "PROFILE=embedded")
    assert done.returncode != 0
    assert f"SERVING_CPUS={cpus}: give a whole number from 1 to" in done.stderr


def test_a_store_that_the_container_could_not_write_to_is_refused_before_training(stack: Stack, tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("another user's containers run as that user")
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o755)
    done = stack.make("up", "PROFILE=train", f"MODELS={locked}")
    assert done.returncode != 0
    assert f"MODELS: {locked} belongs to user 0 and is not for user 10001" in done.stderr
    assert f"chown 10001 {locked}" in done.stderr


def test_a_recipe_that_the_container_would_not_see_is_refused(stack: Stack) -> None:
    done = stack.make("up", "PROFILE=train", "RECIPE=/elsewhere/flowers.yaml", "MODEL=flowers")
    assert done.returncode != 0
    assert "RECIPE=/elsewhere/flowers.yaml: put it into" in done.stderr


def test_without_an_engine_up_says_so(stack: Stack) -> None:
    lost = Stack({**stack.environment, "DOCKER_HOST": "unix:///nowhere/docker.sock"}, stack.folder)
    done = lost.make("up", "PROFILE=embedded")
    assert done.returncode != 0
    assert "the Docker engine does not answer" in done.stderr


def test_without_docker_up_says_what_else_there_is() -> None:
    command = [sys.executable, REPOSITORY / "docker" / "up.py"]
    done = subprocess.run(command, env={"PATH": "/nowhere"}, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "make up: no docker on PATH; install Docker, or use `make serve`, which needs none\n"
