"""Server processes under measurement: start, CPU time, memory."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import requests

_START_SECONDS = 120
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class ServerProcess:
    """A running server and where it listens."""

    process: subprocess.Popen[bytes]
    grpc_port: int
    rest_port: int

    def cpu_seconds(self) -> float:
        """User and system time of all its threads, from /proc."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def resident_megabytes(self) -> float:
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def embedded_server(base_path: Path, *flags: str) -> Iterator[ServerProcess]:
    """`vitrine-model-server` on the model under `base_path`, up when its version is available."""
    command = ["vitrine_serving.embedded.main", "--model_name=model", f"--model_base_path={base_path}", *flags]
    with _running(command, ("--port=", "--rest_api_port=")) as server:
        yield server


@contextlib.contextmanager
def bare_server() -> Iterator[ServerProcess]:
    """The same transports with nothing behind them; see benchmarks.bare."""
    with _running(["benchmarks.bare"], ("", "")) as server:
        yield server


@contextlib.contextmanager
def _running(command: list[str], port_flags: tuple[str, str]) -> Iterator[ServerProcess]:
    grpc_port, rest_port = free_port(), free_port()
    ports = [f"{port_flags[0]}{grpc_port}", f"{port_flags[1]}{rest_port}"]
    process = subprocess.Popen([sys.executable, "-m", *command, *ports], stderr=subprocess.PIPE)
    try:
        _wait_until_available(process, rest_port)
        yield ServerProcess(process, grpc_port, rest_port)
    finally:
        process.terminate()
        process.communicate()


def _wait_until_available(process: subprocess.Popen[bytes], rest_port: int) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            said = process.stderr.read().decode() if process.stderr else ""
            raise RuntimeError(f"the server ended with code {process.returncode}: {said}")
        with contextlib.suppress(requests.ConnectionError):
            answer = requests.get(f"http://127.0.0.1:{rest_port}/v1/models/model", timeout=5)
            if b"AVAILABLE" in answer.content:
                return
        time.sleep(0.05)
    raise RuntimeError(f"the server was not available within {_START_SECONDS} s")
