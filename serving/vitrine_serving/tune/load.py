"""Load from `python -m vitrine_client.load`, in a process of its own."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from vitrine_client.load.slo import Objective
from vitrine_serving.errors import CommandError
from vitrine_serving.tune.visits import Point

# Connections are made by then, and the server has seen each size of batch.
WARM_UP_SECONDS = 1
_REQUEST_SECONDS = 10
_END_SECONDS = 60
_WRONG_USAGE = 2


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
            out: a folder for the load's own files, which it is the first to write to.

        Raises CommandError where there was no load: no pictures, or a load that came to no result.
        """
        process = subprocess.Popen(
            [sys.executable, "-m", "vitrine_client.load", *self._options(ports, concurrency, seconds, out)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            # Ctrl-C reaches us alone, and we end the load in order.
            start_new_session=True,
        )
        try:
            limit = WARM_UP_SECONDS + seconds + _REQUEST_SECONDS + _END_SECONDS
            _, said = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            raise CommandError(f"the load did not end within {limit} seconds; is the server stuck?") from None
        finally:
            _end(process)
        if process.returncode == _WRONG_USAGE:
            raise CommandError(f"no load: {_last_line(said)}")
        try:
            result = json.loads((out / "result.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise CommandError(f"the load came to no result: {_last_line(said)}") from None
        return Point.of(result, concurrency, self.objectives)

    def _options(self, ports: tuple[int, int], concurrency: int, seconds: int, out: Path) -> list[str]:
        grpc, rest = ports
        return [
            *("--headless", "-u", str(concurrency), "-r", str(concurrency)),
            *("-t", f"{WARM_UP_SECONDS + seconds}s", "--warm-up", f"{WARM_UP_SECONDS}s"),
            *("--transport", "grpc", "--grpc", f"localhost:{grpc}", "--rest", f"localhost:{rest}"),
            *("--model", self.model, "--model-version", str(self.version), "--models", str(self.models)),
            *("--pictures", str(self.pictures or ""), "--request-timeout", str(_REQUEST_SECONDS)),
            *("--slo", self.slo, "--out", str(out)),
        ]


def require_locust() -> None:
    """Raises CommandError where the load could not be started."""
    if importlib.util.find_spec("locust") is None:
        raise CommandError("the load needs locust, which is not installed: pip install 'vitrine-client[load]'")


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.communicate(timeout=_REQUEST_SECONDS)
    if process.poll() is None:
        process.kill()
        process.communicate()


def _last_line(said: bytes) -> str:
    lines = said.decode("utf-8", "replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
