"""A server with a candidate, and load on it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vitrine_serving.config.flags import GRPC_THREADS
from vitrine_serving.embedded.flags.groups import OwnFlags
from vitrine_serving.engines import EMBEDDED, Engine, ServerOptions
from vitrine_serving.errors import CommandError
from vitrine_serving.server_process import free_ports, running_server
from vitrine_serving.tune.candidates import Batching, Candidate
from vitrine_serving.tune.copies import BATCHING, Copies
from vitrine_serving.tune.load import WARM_UP_SECONDS, Load
from vitrine_serving.tune.visits import Point, Visit


def candidate_flags(candidate: Candidate, batching_file: str, engine: str) -> list[str]:
    """What a server is started with beyond `vitrine-serving config flags`; of a flag given twice, the last counts."""
    flags = [
        f"--tensorflow_intra_op_parallelism={candidate.threads.intra_op}",
        f"--tensorflow_inter_op_parallelism={candidate.threads.inter_op}",
    ]
    if candidate.where == "server-side":
        flags += ["--enable_batching=true", f"--batching_parameters_file={batching_file}"]
    if candidate.where == "in-graph" and limits(engine, candidate.batching):
        flags.append("--max_cpu_batch_size=0")
    return flags


def limits(engine: str, batching: Batching | None) -> bool:
    """Whether a server of `engine` by default runs less at once than such a batch in a graph says; on a CPU it does."""
    return engine == EMBEDDED and batching is not None and batching.batch_size > OwnFlags.max_cpu_batch_size


@dataclass(frozen=True)
class _CandidateServer(ServerOptions):
    candidate: Candidate
    engine: str

    def flags(self, base_path: str, grpc_port: int, rest_port: int, monitoring_file: str) -> list[str]:
        return [
            *super().flags(base_path, grpc_port, rest_port, monitoring_file),
            f"--grpc_max_threads={GRPC_THREADS}",
            *candidate_flags(self.candidate, f"{base_path}/{BATCHING}", self.engine),
        ]


@dataclass
class Bench:
    """Visits candidates, and knows from then on what a visit costs.

    Attributes:
        folder: for logs and the load's files.
        concurrencies: from the highest down.
        start_seconds: of starting and stopping a server, the mean so far.
        load_seconds: of a load beyond what it counts, likewise.
        points: of a visit that ends with the first concurrency that keeps the objectives, likewise.
    """

    engine: Engine
    copies: Copies
    load: Load
    folder: Path
    concurrencies: Sequence[int]
    start_seconds: float = 0.0
    load_seconds: float = 0.0
    points: float = 1.0
    _visits: int = 0
    _loads: int = 0
    _short: list[int] = field(default_factory=list)

    def visit(self, candidate: Candidate, stage: str, seconds: int, everywhere: bool) -> Visit:
        """Start a server with `candidate`, ask it from the highest concurrency down, and stop it.

        Args:
            seconds: that count, at each concurrency.
            everywhere: ask at all concurrencies; else no further than to the first that keeps the objectives.
        """
        points: list[Point] = []
        base_path = self.copies.base_path(candidate)
        log = self.folder / "server.log"
        begin = time.monotonic()
        loading = 0.0
        try:
            ports = free_ports()
            options = _CandidateServer(self.load.model, base_path, *ports, candidate, self.engine.name)
            with running_server(self.engine, options, log):
                for concurrency in self.concurrencies:
                    asked = time.monotonic()
                    points.append(self._point(ports, concurrency, seconds))
                    loading += time.monotonic() - asked
                    if points[-1].kept and not everywhere:
                        break
        except CommandError as error:
            return Visit(candidate, stage, tuple(points), f"{error}{_last_words(log)}")
        finally:
            shutil.rmtree(base_path, ignore_errors=True)
        self._learn(time.monotonic() - begin - loading, loading, len(points), seconds)
        if not everywhere:
            self._short.append(len(points))
            self.points = sum(self._short) / len(self._short)
        return Visit(candidate, stage, tuple(points), self._failure(points))

    def seconds_of(self, seconds: float, everywhere: bool) -> float:
        """How long such a visit takes, by what was seen so far."""
        points = len(self.concurrencies) if everywhere else self.points
        return self.start_seconds + points * (self.load_seconds + seconds)

    def _point(self, ports: tuple[int, int], concurrency: int, seconds: int) -> Point:
        out = self.folder / "load"
        shutil.rmtree(out, ignore_errors=True)
        return self.load.point(ports, concurrency, seconds, out)

    def _learn(self, starting: float, loading: float, loads: int, seconds: float) -> None:
        self.start_seconds += (starting - self.start_seconds) / (self._visits + 1)
        self._visits += 1
        spent = self.load_seconds * self._loads + loading - loads * seconds
        self._loads += loads
        self.load_seconds = max(float(WARM_UP_SECONDS), spent / self._loads)

    def _failure(self, points: Sequence[Point]) -> str | None:
        if any(objective.metric == "errors" for objective in self.load.objectives):
            return None
        for point in points:
            if point.errors:
                kinds = ", ".join(f"{number} {kind}" for kind, number in point.errors.items())
                return f"requests failed with {point.concurrency} at once: {kinds}"
        return None


def _last_words(log: Path) -> str:
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        return ""
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f" (the server: {last})" if last else ""
