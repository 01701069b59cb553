"""What is in the images, and what is not."""

from __future__ import annotations

import json
import subprocess

import pytest
from stack import TAG

OURS = ("client", "serving", "train", "ui")


def run(images: dict[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", "run", "--rm", *command], env=images, capture_output=True, text=True)


@pytest.mark.parametrize("name", OURS)
def test_an_image_runs_as_nobody_in_particular_and_says_what_it_is(images: dict[str, str], name: str) -> None:
    shown = subprocess.run(
        ["docker", "image", "inspect", f"vitrine-{name}:{TAG}"], env=images, capture_output=True, text=True, check=True
    )
    settings = json.loads(shown.stdout)[0]["Config"]
    assert settings["User"] == "10001:10001"
    labels = settings["Labels"]
    assert labels["org.opencontainers.image.title"] == f"vitrine-{name}"
    assert labels["org.opencontainers.image.description"]


@pytest.mark.parametrize("name", OURS)
def test_an_image_has_no_compiler(images: dict[str, str], name: str) -> None:
    look = "for tool in gcc cc g++ make ld git; do command -v $tool; done; true"
    done = run(images, "--entrypoint", "sh", f"vitrine-{name}:{TAG}", "-c", look)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_client_image_has_no_tensorflow_and_both_commands(images: dict[str, str]) -> None:
    image = f"vitrine-client:{TAG}"
    absent = run(images, "--entrypoint", "python", image, "-c", "import tensorflow")
    assert "No module named 'tensorflow'" in absent.stderr
    assert "vitrine-client predict" in run(images, image).stdout
    flags = run(images, "--entrypoint", "vitrine-serving", image, "config", "flags", "--cpus", "3")
    assert "--tensorflow_inter_op_parallelism=3" in flags.stdout
    assert "--transport" in run(images, "--entrypoint", "python", image, "-m", "vitrine_client.load", "--help").stdout


@pytest.mark.parametrize(
    ("name", "base", "megabytes"), [("client", "python:3.11-slim-bookworm", 300), ("ui", "debian:bookworm-slim", 30)]
)
def test_an_image_without_tensorflow_is_small(images: dict[str, str], name: str, base: str, megabytes: int) -> None:
    command = ["docker", "image", "inspect", f"vitrine-{name}:{TAG}", base, "--format", "{{.Size}}"]
    done = subprocess.run(command, env=images, capture_output=True, text=True, check=True)
    ours, theirs = map(int, done.stdout.split())
    assert 0 < ours - theirs < megabytes * 1e6


def test_the_serving_image_runs_read_only_with_tensorflow_servings_flags(images: dict[str, str]) -> None:
    image = f"vitrine-serving:{TAG}"
    version = run(images, "--read-only", "--cap-drop", "ALL", image, "--version")
    assert version.returncode == 0, version.stderr
    assert version.stdout.startswith("TensorFlow ModelServer: 2.20")
    refused = run(images, "--read-only", image, "--no_such_flag")
    assert refused.returncode != 0
    assert "no_such_flag" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_the_train_image_runs_read_only_and_says_how_it_is_used(images: dict[str, str]) -> None:
    done = run(images, "--read-only", "--cap-drop", "ALL", f"vitrine-train:{TAG}", "train", "--help")
    assert done.returncode == 0, done.stderr
    assert "--recipe" in done.stdout
