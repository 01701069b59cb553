"""Which engine is taken and why, and what it is started with."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from vitrine_serving.engines import ServerOptions, choose
from vitrine_serving.errors import CommandError

OPTIONS = ServerOptions("pets", Path("/models/pets"), grpc_port=9000, rest_port=9001)
MONITORING = Path("/tmp/server/monitoring.config")


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is all of PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def program(folder: Path, name: str) -> None:
    (folder / name).write_text("#!/bin/sh\n")
    (folder / name).chmod(0o755)


def test_auto_takes_the_binary_where_it_is_on_path(path: Path) -> None:
    program(path, "tensorflow_model_server")
    engine = choose("auto")
    assert (engine.name, engine.why) == ("binary", "tensorflow_model_server is on PATH")
    command = engine.command(OPTIONS, MONITORING)
    assert command[:3] == ["tensorflow_model_server", "--port=9000", "--rest_api_port=9001"]
    assert f"--monitoring_config_file={MONITORING}" in command


def test_auto_takes_the_embedded_server_elsewhere(path: Path) -> None:
    engine = choose("auto")
    assert (engine.name, engine.why) == ("embedded", "tensorflow_model_server is not on PATH")
    command = engine.command(OPTIONS, MONITORING)
    assert command[0] == sys.executable
    assert {"--model_name=pets", "--model_base_path=/models/pets", "--port=9000"} <= set(command)
    assert f"--monitoring_config_file={MONITORING}" in command


@pytest.mark.parametrize(("engine", "missing"), [("binary", "tensorflow_model_server"), ("docker", "docker")])
def test_an_engine_that_is_not_here_says_the_way_out(path: Path, engine: str, missing: str) -> None:
    with pytest.raises(CommandError, match=f"{missing}.*ENGINE=embedded"):
        choose(engine)


def test_an_unknown_engine_lists_the_known_ones() -> None:
    with pytest.raises(CommandError, match="accepted: auto, binary, docker, embedded"):
        choose("triton")


def test_docker_gets_the_same_flags_with_the_least_rights(path: Path) -> None:
    program(path, "docker")
    engine = choose("docker")
    command = engine.command(OPTIONS, MONITORING)
    assert "tensorflow/serving:2.20.0" in command
    assert {"127.0.0.1:9000:8500", "127.0.0.1:9001:8501"} <= set(command)
    assert "type=bind,source=/models/pets,target=/models/pets,readonly" in command
    assert {"--port=8500", "--rest_api_port=8501", "--model_base_path=/models/pets", "--cap-drop"} <= set(command)
    assert f"type=bind,source={MONITORING},target=/etc/vitrine/monitoring.config,readonly" in command
    assert "--monitoring_config_file=/etc/vitrine/monitoring.config" in command
    assert engine.remove is not None
    assert command[command.index("--name") + 1] == engine.remove(OPTIONS)[-1]
