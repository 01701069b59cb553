"""A server started with what `vitrine-serving config` writes and prints, and nothing else."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from embedded_server import COMMAND, ModelServer
from processes import free_port, wait_until

CONFIG = [str(Path(sys.executable).with_name("vitrine-serving")), "config"]
HALF_PLUS_TWO, HALF_PLUS_THREE = 2.5, 3.5  # of 1.0


@contextlib.contextmanager
def configured_server(folder: Path, log: Path, *options: str) -> Iterator[ModelServer]:
    """The embedded server with the flags of `config flags`; it must stop with code 0."""
    ports = free_port(), free_port()
    flags = [*CONFIG, "flags", "--config-dir", folder, "--grpc-port", str(ports[0]), "--rest-port", str(ports[1])]
    printed = subprocess.run([*flags, *options], capture_output=True, text=True, check=True).stdout
    with log.open("wb") as stderr:
        process = subprocess.Popen([str(COMMAND), *printed.splitlines()], stderr=stderr)
    server = ModelServer(process, *ports, log)
    try:
        wait_until(lambda: process.poll() is not None or "REST listening" in server.log, "the server listens")
        assert process.poll() is None, server.log
        yield server
        assert server.stop() == 0, server.log
    finally:
        server.channel.close()
        if process.poll() is None:
            process.kill()
            process.wait()


@pytest.fixture
def folder(put_version, tmp_path: Path) -> Path:
    """A configuration of version 1, half plus two; a newer one, half plus three, is in the store."""
    put_version("plus_two", 1)
    put_version("plus_three", 2)
    store = put_version.base_path.rename(tmp_path / "model").parent
    write = ["write", "--models", store, "--base-path", store, "--model", "model=1", "--out", tmp_path / "etc"]
    subprocess.run([*CONFIG, *write, "--allowed-batch-sizes", "2,4"], check=True, capture_output=True)
    return tmp_path / "etc"


def test_the_pinned_version_is_served_although_there_is_a_newer_one(folder: Path, tmp_path: Path) -> None:
    with configured_server(folder, tmp_path / "server.log") as server:
        server.wait_for(1, "AVAILABLE")
        assert list(server.states()) == [1]
        assert server.post({"instances": [1.0]}).json() == {"predictions": [HALF_PLUS_TWO]}
        assert server.post({"instances": [1.0]}, "/labels/stable:predict").json() == {"predictions": [HALF_PLUS_TWO]}
        assert server.post({"instances": [1.0]}, "/versions/2:predict").status_code == 404
        [probe] = requests.get(f"{server.model_url}/versions/1", timeout=10).json()["model_version_status"]
        assert (probe["version"], probe["state"]) == ("1", "AVAILABLE")
        metrics = server.get("/monitoring/prometheus/metrics")
        assert metrics.status_code == 200
        assert ":tensorflow:serving:request_count" in metrics.text


def test_batching_as_the_folder_says(folder: Path, tmp_path: Path) -> None:
    with configured_server(folder, tmp_path / "server.log", "--batching") as server:
        server.wait_for(1, "AVAILABLE")
        assert server.post({"instances": [1.0, 1.0, 1.0]}).json() == {"predictions": [HALF_PLUS_TWO] * 3}
        too_many = server.post({"instances": [1.0] * 5})
        assert too_many.status_code == 400
        assert "4" in too_many.json()["error"]
