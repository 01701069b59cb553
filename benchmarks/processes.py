"""Server processes under measurement: start, CPU time, memory."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import requests

from vitrine_serving.config.flags import GRPC_THREADS, cpu_flags, load_flags
from vitrine_serving.engines import BINARY
from vitrine_serving.server_process import free_ports

_START_SECONDS = 120
_START_MANY_SECONDS = 600
_STOP_SECONDS = 30
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

    def proportional_megabytes(self) -> float:
        """PSS: what it shares with other processes counts in parts."""
        lines = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("Pss:"))

    def exact_cpu_seconds(self) -> float:
        """As `cpu_seconds`, in nanoseconds and not in ticks: for times that are short or processes that rest."""
        # What clock_getcpuclockid(3) makes of a process on Linux; Python has it for threads only.
        return time.clock_gettime((~self.process.pid << 3) | 2)

    def anonymous_megabytes(self) -> float:
        """Resident memory without files that are mapped into it."""
        return self._status("RssAnon") * 1024 / 1e6

    def threads(self) -> int:
        return self._status("Threads")

    def open_files(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def _status(self, name: str) -> int:
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


Start = Callable[..., contextlib.AbstractContextManager[ServerProcess]]


def allow_open_files(count: int) -> None:
    """Let this process, and those it starts from now on, have `count` files open.

    Raises OSError where the limit of the system is lower; the text says so.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        if hard != resource.RLIM_INFINITY and hard < count:
            raise OSError(f"{count} open files are needed and {hard} allowed: raise the limit (ulimit -Hn)")
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


@contextlib.contextmanager
def embedded_server(base_path: Path, *flags: str) -> Iterator[ServerProcess]:
    """`vitrine-model-server` on the model under `base_path`, up when its version is available."""
    command = [sys.executable, "-m", "vitrine_serving.embedded.main", *_model_flags(base_path), *flags]
    with _running(command, ("--port=", "--rest_api_port=")) as server:
        yield server


def tensorflow_serving_here() -> bool:
    """Whether `tensorflow_model_server` is on PATH."""
    return shutil.which(BINARY) is not None


@contextlib.contextmanager
def tensorflow_serving(base_path: Path, *flags: str, gpu: bool = False) -> Iterator[ServerProcess]:
    """`tensorflow_model_server` on the model under `base_path`, with the flags that Vitrine starts it with."""
    ours = [*([] if gpu else cpu_flags()), f"--grpc_max_threads={GRPC_THREADS}", *load_flags()]
    command = [BINARY, *_model_flags(base_path), *ours, *flags]
    # SIGTERM it ignores.
    with _running(command, ("--port=", "--rest_api_port="), signal.SIGINT) as server:
        yield server


def _model_flags(base_path: Path) -> list[str]:
    return ["--model_name=model", f"--model_base_path={base_path.resolve()}"]


@contextlib.contextmanager
def embedded_server_of(config_file: Path, *flags: str) -> Iterator[ServerProcess]:
    """`vitrine-model-server` with the models of a ModelServerConfig, one of them named "model"; up when all loaded."""
    command = [sys.executable, "-m", "vitrine_serving.embedded.main", f"--model_config_file={config_file}", *flags]
    with _running(command, ("--port=", "--rest_api_port="), start_seconds=_START_MANY_SECONDS) as server:
        yield server


@contextlib.contextmanager
def bare_server() -> Iterator[ServerProcess]:
    """The same transports with nothing behind them; see benchmarks.bare."""
    with _running([sys.executable, "-m", "benchmarks.bare"], ("", "")) as server:
        yield server


@contextlib.contextmanager
def _running(
    command: list[str],
    port_flags: tuple[str, str],
    stop_signal: signal.Signals = signal.SIGTERM,
    start_seconds: float = _START_SECONDS,
) -> Iterator[ServerProcess]:
    grpc_port, rest_port = free_ports()
    ports = [f"{port_flags[0]}{grpc_port}", f"{port_flags[1]}{rest_port}"]
    # A file: nobody reads a pipe while the server runs, and a full one would stop it.
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen([*command, *ports], stdout=said, stderr=said)
        try:
            _wait_until_available(process, rest_port, said, start_seconds)
            yield ServerProcess(process, grpc_port, rest_port)
        finally:
            process.send_signal(stop_signal)
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait_until_available(
    process: subprocess.Popen[bytes], rest_port: int, said: IO[bytes], start_seconds: float
) -> None:
    deadline = time.monotonic() + start_seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            said.seek(0)
            raise RuntimeError(f"the server ended with code {process.returncode}: {said.read().decode()}")
        with contextlib.suppress(requests.ConnectionError):
            answer = requests.get(f"http://127.0.0.1:{rest_port}/v1/models/model", timeout=5)
            if b"AVAILABLE" in answer.content:
                return
        time.sleep(0.05)
    raise RuntimeError(f"the server was not available within {start_seconds:.0f} s")
