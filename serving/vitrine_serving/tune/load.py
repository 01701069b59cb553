"""Load from `python -m vitrine_client.load`, in a process of its own."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from vitrine_client.load.process import NoResult, result_of
from vitrine_client.load.slo import Objective
from vitrine_serving.errors import CommandError
from vitrine_serving.tune.visits import Point

# Connections are made by then, and the server has seen each size of batch.
WARM_UP_SECONDS = 1
_REQUEST_SECONDS = 10


@dataclass(frozen=True)
class Load:
    """What is asked of every candidate.

    Attributes:
        models: the store, for the golden pictures; asked about where `pictures` is None.
        pictures: a folder of them.
        slo: the objectives as they were written; empty for none.
    """

    model: str
    version: int
    models: Path
    pictures: Path | None
    slo: str
    objectives: tuple[Objective, ...]

    def point(self, ports: tuple[int, int], concurrency: int, seconds: int, out: Path) -> Point:
        """Ask the server at (gRPC port, REST port), by gRPC; `seconds` count, after the warm-up.

        Args:
            out: a folder for the load's own files.

        Raises CommandError where there was no load: no pictures, or a load that came to no result.
        """
        grpc, rest = ports
        options = {
            "users": str(concurrency),
            "spawn-rate": str(concurrency),
            "run-time": f"{WARM_UP_SECONDS + seconds}s",
            "warm-up": f"{WARM_UP_SECONDS}s",
            "transport": "grpc",
            "grpc": f"localhost:{grpc}",
            "rest": f"localhost:{rest}",
            "model": self.model,
            "model-version": str(self.version),
            "models": str(self.models),
            "pictures": str(self.pictures or ""),
            "request-timeout": str(_REQUEST_SECONDS),
            "slo": self.slo,
        }
        try:
            result = result_of(options, out, WARM_UP_SECONDS + seconds + _REQUEST_SECONDS)
        except NoResult as error:
            raise CommandError(str(error)) from None
        return Point.of(result, concurrency, self.objectives)


def require_locust() -> None:
    """Raises CommandError where the load could not be started."""
    if importlib.util.find_spec("locust") is None:
        raise CommandError("the load needs locust, which is not installed: pip install 'vitrine-client[load]'")
