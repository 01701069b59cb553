"""A server that is started with a configuration folder, as often as a test wants, and a rollout's view of it."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from embedded_server import COMMAND, ModelServer
from processes import free_port, wait_until

from vitrine_serving.config import BatchingSettings, PinnedModel, ServingConfig, read_models, server_flags, write_config
from vitrine_serving.rollout.one_server.server import tell
from vitrine_serving.rollout.one_server.target import OneServerTarget, one_server

ONE = {"x": np.ones(1, np.float32)}
# What versions of `plus_two` and `plus_three` answer.
TWO, THREE = 2.5, 3.5


class RolloutServer:
    """The folder `etc` for version 1 of `model`, and the ports of its server."""

    def __init__(self, store: Path, folder: Path) -> None:
        self.etc = folder / "etc"
        self.ports = free_port(), free_port()
        self._log = folder / "server.log"
        self._model = PinnedModel("model", str(store / "model"), (1,), {"stable": 1})
        self.write()

    def write(self) -> None:
        """The folder as before any rollout."""
        (self.etc / "rollout.json").unlink(missing_ok=True)
        write_config(
            self.etc, ServingConfig((self._model,), BatchingSettings(max_batch_size=77), "digits.example:8501")
        )

    def reset(self, server: ModelServer) -> None:
        """The running server, too, has version 1 and no other again."""
        self.write()
        grpc = f"127.0.0.1:{self.ports[0]}"
        # A label cannot go to a version that is not there.
        tell(grpc, [replace(self._model, labels={})], "model", 1)
        wait_until(lambda: available(server) == [1], "version 1 alone")
        tell(grpc, [self._model], "model", 1)

    def target(self, model: str | None = None) -> OneServerTarget:
        return one_server(self.etc, model, *(f"127.0.0.1:{port}" for port in self.ports))

    @contextlib.contextmanager
    def running(self) -> Iterator[ModelServer]:
        """The server, with version 1 loaded or whatever the folder has by now."""
        grpc_port, rest_port = self.ports
        flags = server_flags(str(self.etc), grpc_port=grpc_port, rest_port=rest_port)
        with self._log.open("wb") as stderr:
            process = subprocess.Popen([str(COMMAND), *flags], stderr=stderr)
        server = ModelServer(process, *self.ports, self._log)
        try:
            wait_until(lambda: process.poll() is not None or "REST listening" in server.log, "the server listens")
            wait_until(lambda: "AVAILABLE" in [state for state, _ in server.states().values()], "a version is there")
            yield server
        finally:
            server.channel.close()
            if process.poll() is None:
                process.kill()
            process.wait()


def answer(server: ModelServer, label: str = "stable") -> float:
    return float(server.predict(ONE, label=label).outputs["y"].float_val[0])


def listed(serving: RolloutServer) -> tuple[tuple[int, ...], dict[str, int]]:
    """Versions and labels of models.config."""
    [model] = read_models(serving.etc / "models.config")
    return model.versions, dict(model.labels)


def available(server: ModelServer) -> list[int]:
    return sorted(version for version, (state, _) in server.states().items() if state == "AVAILABLE")
