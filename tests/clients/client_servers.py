"""A real server of a small model, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from processes import free_port

from vitrine_client import Client, GrpcClient, RestClient

MODEL = "shapes"


@dataclass(frozen=True)
class Server:
    """A running server's ports and the folder with the model's versions."""

    grpc: str
    rest: str
    versions: Path

    def client(self, transport: str, model: str = MODEL, version: int | None = None, timeout: float = 30.0) -> Client:
        if transport == "grpc":
            return GrpcClient(self.grpc, model=model, version=version, timeout=timeout)
        return RestClient(self.rest, model=model, version=version, timeout=timeout)


@contextmanager
def running_server(versions: Path | str, folder: Path, *flags: str) -> Iterator[Server]:
    """The embedded server with the model in `versions`, available; its log goes to `folder`."""
    command = Path(sys.executable).with_name("vitrine-model-server")
    if not command.exists():
        pytest.skip("needs vitrine-model-server: pip install ./serving")
    grpc_port, rest_port = free_port(), free_port()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                command,
                f"--port={grpc_port}",
                f"--rest_api_port={rest_port}",
                f"--model_name={MODEL}",
                f"--model_base_path={versions}",
                "--max_num_load_retries=0",
                *flags,
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        running = Server(f"localhost:{grpc_port}", f"http://localhost:{rest_port}", Path(versions))
        with running.client("grpc") as client:
            client.wait_until_available(timeout=120)
        yield running
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
