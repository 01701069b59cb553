"""What a peer's program is told, through the environment."""

from __future__ import annotations

import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

_PREFIX = "PEER_"
# The same for all, and for the server they are measured beside: their own defaults are 10, 32 and 100.
MAX_BATCH_SIZE = 16
# How long a batch waits for more; Ray Serve's own default.
BATCH_SECONDS = 0.01


@dataclass(frozen=True)
class Settings:
    """Which model, and with how much of what.

    Attributes:
        model: the version directory of the SavedModel.
        cores: number of workers, each of which computes in one thread.
        batching: whether requests are merged into batches.
        port: where HTTP is served, on 127.0.0.1.
        folder: for whatever the server writes; gone after its end.
    """

    model: Path
    cores: int
    batching: bool
    port: int
    folder: Path

    @classmethod
    def from_environment(cls) -> Settings:
        def told(name: str) -> str:
            return os.environ[_PREFIX + name]

        return cls(
            Path(told("MODEL")), int(told("CORES")), told("BATCHING") == "1", int(told("PORT")), Path(told("FOLDER"))
        )

    def environment(self) -> dict[str, str]:
        """What `from_environment` reads."""
        return {
            f"{_PREFIX}MODEL": str(self.model),
            f"{_PREFIX}CORES": str(self.cores),
            f"{_PREFIX}BATCHING": str(int(self.batching)),
            f"{_PREFIX}PORT": str(self.port),
            f"{_PREFIX}FOLDER": str(self.folder),
        }

    @property
    def ready(self) -> Path:
        """Holds a file for each worker that has loaded the model."""
        return self.folder / "ready"


def free_port() -> int:
    """A port that nothing listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def become(script: str, *arguments: str) -> NoReturn:
    """Go on as a script of this environment."""
    program = str(Path(sys.executable).with_name(script))
    os.execv(program, [program, *arguments])  # noqa: S606 - as everywhere, an argument list and no shell
