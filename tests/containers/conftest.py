"""A Docker engine, the images of this repository on it, and the compose file's services with a store of their own."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import free_port
from stack import REPOSITORY, TAG, Stack

from vitrine_export.datasets.digits import write_digits

KIT = REPOSITORY.parent / "shared" / "k8s"
# Where the kit's engine lives.
LAB = Path(os.environ.get("VITRINE_LAB", "/var/tmp/vitrine-lab"))
STANDINS = Path(__file__).with_name("standins")
# What stands in for images that no registry can be asked for; only ever built into the kit's own engine.
_STANDINS = {
    "tensorflow/serving:2.20.0": "tensorflow_serving",
    "prom/prometheus": "prometheus",
    "prom/blackbox-exporter": "blackbox",
    "grafana/grafana": "grafana",
}


@pytest.fixture(scope="session")
def docker() -> Iterator[dict[str, str]]:
    """The environment in which `docker` and `docker compose` have an engine: the machine's own, or the kit's."""
    if _answers(dict(os.environ)):
        yield dict(os.environ)
        return
    if not KIT.is_dir() or os.geteuid() != 0:
        pytest.skip("needs a Docker engine with compose, or ../shared/k8s and root")
    up = subprocess.run([KIT / "engine-up"], stdout=subprocess.PIPE, text=True, check=True)
    lines = [line.removeprefix("export ") for line in up.stdout.splitlines()]
    yield {**os.environ, **dict(line.split("=", 1) for line in lines)}
    subprocess.run([KIT / "engine-down"], check=True)


def _answers(environment: dict[str, str]) -> bool:
    try:
        for command in (["docker", "info"], ["docker", "compose", "version"]):
            subprocess.run(command, env=environment, capture_output=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return False
    return True


@pytest.fixture(scope="session")
def images(docker: dict[str, str]) -> dict[str, str]:
    """The environment, once `make images` has built all of ours, under a tag of the tests' own."""
    environment = {**docker, "VITRINE_TAG": TAG}
    subprocess.run(["make", "images"], cwd=REPOSITORY, env=environment, check=True)
    if str(LAB) in docker.get("DOCKER_HOST", ""):
        command = ["docker", "compose", "--profile", "*", "config", "--format", "json"]
        shown = subprocess.run(command, cwd=REPOSITORY, env=environment, check=True, capture_output=True)
        for service in json.loads(shown.stdout)["services"].values():
            folder = _STANDINS.get(service["image"]) or _STANDINS.get(service["image"].split(":")[0])
            if folder:
                build = ["docker", "build", "--quiet", "--tag", service["image"], STANDINS / folder]
                subprocess.run(build, env=environment, check=True, stdout=subprocess.DEVNULL)
    return environment


@pytest.fixture(scope="session")
def stack(images: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The compose file, unmodified, as a project of its own; everything it made is gone at the end."""
    folder = tmp_path_factory.mktemp("stack")
    # Containers write there as a user that this machine does not know.
    folder.chmod(0o755)
    (folder / "models").mkdir()
    write_digits(folder / "data")
    for name in ("models", "data"):
        (folder / name).chmod(0o777)
    ports = {
        f"{name}_PORT": str(free_port())
        for name in ("GRPC", "REST", "UI", "PROMETHEUS", "GRAFANA", "LOAD", "TENSORBOARD")
    }
    environment = {
        **images,
        **ports,
        "COMPOSE_PROJECT_NAME": f"vitrine-test-{folder.parent.name}",
        "MODELS": str(folder / "models"),
        "DATA": str(folder / "data"),
        "HEALTH_INTERVAL": "1s",
    }
    started = Stack(environment, folder)
    try:
        yield started
    finally:
        started.compose("--profile", "*", "down", "--volumes", "--remove-orphans", "--timeout", "5")


@pytest.fixture(scope="session")
def trained(stack: Stack) -> str:
    """What `make up PROFILE=train` printed; version 1 of digits is in the stack's store."""
    return stack.up("train", "SET=training.epochs=3")
