"""The docker engine, with a real Docker and a stand-in for TensorFlow Serving's image."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import DEADLINE_SECONDS, free_port, wait_until

from vitrine_serving.engines import IMAGE

KIT = Path(__file__).parents[3] / "shared" / "k8s"
STAND_IN = Path(__file__).with_name("standin")
COMMAND = Path(sys.executable).with_name("vitrine-serving")


@pytest.fixture(scope="module")
def docker() -> Iterator[dict[str, str]]:
    """The environment in which `docker` has an engine with the image, or with the stand-in for it."""
    if subprocess.run(["docker", "image", "inspect", IMAGE], capture_output=True).returncode == 0:
        yield dict(os.environ)
        return
    # Never into somebody's own engine: there the stand-in's name would pass for the real image.
    if not KIT.is_dir() or os.geteuid() != 0:
        pytest.skip(f"needs an engine that has {IMAGE}, or ../shared/k8s and root")
    up = subprocess.run([KIT / "engine-up"], stdout=subprocess.PIPE, text=True, check=True)
    lines = [line.removeprefix("export ") for line in up.stdout.splitlines()]
    environment = {**os.environ, **dict(line.split("=", 1) for line in lines)}
    subprocess.run(["docker", "build", "--quiet", "--tag", IMAGE, STAND_IN], env=environment, check=True)
    yield environment
    subprocess.run([KIT / "engine-down"], check=True)


def test_up_runs_a_container_on_the_store_and_removes_it(
    docker: dict[str, str], digits_store: Path, tmp_path: Path
) -> None:
    grpc_port, rest_port = free_port(), free_port()
    ports = ["--grpc-port", str(grpc_port), "--rest-port", str(rest_port)]
    log = tmp_path / "up.log"
    with log.open("wb") as output:
        command = [COMMAND, "up", "--engine", "docker", "--models", digits_store, *ports]
        process = subprocess.Popen(command, stdout=output, stderr=output, env=docker)
    try:
        wait_until(lambda: "Ctrl-C stops" in log.read_text() or process.poll() is not None, "the container answers")
        assert process.poll() is None, log.read_text()
        assert "engine: docker (asked for)" in log.read_text()
        shown = subprocess.run(
            ["docker", "ps", "--format", "{{.Image}} {{.Names}}"], env=docker, capture_output=True, text=True
        )
        assert f"{IMAGE} vitrine-digits-{grpc_port}" in shown.stdout
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_SECONDS) == 0
    finally:
        if process.poll() is None:
            process.kill()
    ours = ["docker", "ps", "--all", "--quiet", "--filter", f"name=vitrine-digits-{grpc_port}"]
    left = subprocess.run(ours, env=docker, capture_output=True, text=True)
    assert left.stdout == ""
