"""`vitrine-serving up`: a server in the foreground, with any engine, that ends in order."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from processes import DEADLINE_SECONDS, free_port, wait_until

from vitrine_client import RestClient

COMMAND = Path(sys.executable).with_name("vitrine-serving")
EMBEDDED = Path(sys.executable).with_name("vitrine-model-server")


class Up:
    """A `vitrine-serving up` process and what it says."""

    def __init__(self, models: Path, log: Path, *arguments: str, path: str = "", model: str = "digits") -> None:
        self.grpc_port, self.rest_port = free_port(), free_port()
        self._log = log
        self.temporary = log.with_suffix(".temporary")
        self.temporary.mkdir()
        ports = ["--grpc-port", str(self.grpc_port), "--rest-port", str(self.rest_port)]
        command = [COMMAND, "up", "--models", models, "--model", model, *ports, *arguments]
        environment = {**os.environ, "PATH": f"{path}:{os.environ['PATH']}", "TMPDIR": str(self.temporary)}
        with log.open("wb") as stderr:
            self.process = subprocess.Popen(command, stdout=stderr, stderr=stderr, env=environment)

    @property
    def said(self) -> str:
        return self._log.read_text()

    def wait_until_ready(self) -> None:
        wait_until(lambda: "Ctrl-C stops" in self.said or self.process.poll() is not None, "the server is ready")
        assert self.process.poll() is None, self.said

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(DEADLINE_SECONDS)


@pytest.fixture
def up(digits_store: Path, tmp_path: Path) -> Iterator[type[Up]]:
    """Start one: up("--engine", "embedded"). It is killed at the end if the test has not ended it."""
    started: list[Up] = []

    def start(*arguments: str, models: Path = digits_store, **options: str) -> Up:
        started.append(Up(models, tmp_path / f"up{len(started)}.log", *arguments, **options))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.end(signal.SIGTERM)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def curl_line(said: str) -> str:
    return next(line.strip() for line in said.splitlines() if line.strip().startswith("curl "))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_says_where_it_listens_and_ends_in_order(up, number: signal.Signals) -> None:
    server = up("--engine", "embedded")
    server.wait_until_ready()
    assert "engine: embedded (asked for)" in server.said
    assert f"gRPC: localhost:{server.grpc_port}" in server.said
    assert f"REST: http://localhost:{server.rest_port}/v1/models/digits" in server.said
    assert listens(server.grpc_port)
    assert server.end(number) == 0
    assert "stopped" in server.said
    assert "Traceback" not in server.said
    assert not listens(server.grpc_port)
    assert not listens(server.rest_port)
    assert not list(server.temporary.iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a server outlives a parent that is killed")
def test_the_server_ends_with_a_parent_that_is_killed(up) -> None:
    server = up("--engine", "embedded")
    server.wait_until_ready()
    assert server.end(signal.SIGKILL) == -signal.SIGKILL
    wait_until(lambda: not listens(server.grpc_port) and not listens(server.rest_port), "the server has ended")


def requests_counted(url: str) -> int:
    """Answered well by the model, as the server's metrics tell."""
    page = requests.get(url, timeout=DEADLINE_SECONDS).text
    found = re.search(r'^:tensorflow:serving:request_count{model_name="digits",status="OK"} (\d+)$', page, re.MULTILINE)
    assert found, page
    return int(found[1])


def test_the_curl_line_works_as_pasted_and_is_counted_by_the_metrics(up) -> None:
    server = up("--engine", "embedded")
    server.wait_until_ready()
    [metrics] = [line.split()[1] for line in server.said.splitlines() if line.startswith("Metrics: ")]
    # `up` itself has asked for the status.
    before = requests_counted(metrics)
    done = subprocess.run(["bash", "-c", curl_line(server.said)], capture_output=True, text=True)
    assert '"labels"' in done.stdout, done.stdout + done.stderr
    assert '"scores"' in done.stdout
    assert requests_counted(metrics) == before + 1


def test_the_binary_on_path_is_taken_and_stopped(up, tmp_path: Path) -> None:
    """A stand-in for TensorFlow Serving's binary, which does not run here: it ignores SIGTERM as the real one does."""
    stand_in = tmp_path / "bin" / "tensorflow_model_server"
    stand_in.parent.mkdir()
    stand_in.write_text(f"""#!/bin/sh
trap '' TERM
trap 'kill $child; exit 130' INT
{EMBEDDED} "$@" &
child=$!
while kill -0 $child; do wait $child; done
""")
    stand_in.chmod(0o755)
    server = up(path=str(stand_in.parent))
    server.wait_until_ready()
    assert "engine: binary (tensorflow_model_server is on PATH)" in server.said
    with RestClient(f"localhost:{server.rest_port}", model="digits") as client:
        assert client.status().available == (1,)
    assert server.end(signal.SIGTERM) == 0
    wait_until(lambda: not listens(server.rest_port), "the stand-in has ended")


def test_a_server_that_dies_is_told(up, tmp_path: Path) -> None:
    stand_in = tmp_path / "bin" / "tensorflow_model_server"
    stand_in.parent.mkdir()
    stand_in.write_text("#!/bin/sh\nexit 7\n")
    stand_in.chmod(0o755)
    server = up(path=str(stand_in.parent))
    assert server.process.wait(DEADLINE_SECONDS) == 1
    assert "the server ended with exit code 7 before it answered" in server.said
    assert not list(server.temporary.iterdir())


def test_nothing_to_serve(up, tmp_path: Path) -> None:
    server = up(models=tmp_path, model="nothing")
    assert server.process.wait(DEADLINE_SECONDS) == 1
    [_, line] = server.said.splitlines()
    assert "nothing to serve" in line
    assert "make train export" in line


def test_a_version_that_cannot_be_loaded_is_told_at_once(up, digits_store: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    shutil.copytree(digits_store, models)
    (models / "digits" / "1" / "variables" / "variables.index").write_bytes(b"damaged")
    server = up("--engine", "embedded", models=models)
    assert server.process.wait(DEADLINE_SECONDS) == 1
    assert "version 1 cannot be loaded" in server.said
    assert "Traceback" not in server.said


def test_a_busy_port(digits_store: Path) -> None:
    with socket.socket() as busy:
        busy.bind(("", 0))
        busy.listen()
        port = busy.getsockname()[1]
        command = [COMMAND, "up", "--models", digits_store, "--rest-port", str(port), "--grpc-port", str(free_port())]
        done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert f"port {port} cannot be used: Address already in use" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [(), ("down",), ("up", "--engine", "triton"), ("up", "--grpc-port", "70000"), ("up", "--models", "gs://bucket")],
)
def test_wrong_usage_is_exit_code_2(arguments: tuple[str, ...]) -> None:
    assert subprocess.run([COMMAND, *arguments], capture_output=True).returncode == 2


@pytest.mark.parametrize("arguments", [("--help",), ("up", "--help")])
def test_help_has_examples(arguments: tuple[str, ...]) -> None:
    done = subprocess.run([COMMAND, *arguments], capture_output=True, text=True)
    assert done.returncode == 0
    assert "examples:" in done.stdout
