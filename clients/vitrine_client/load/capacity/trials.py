"""One trial: `python -m vitrine_client.load` in a process of its own, and what its result says."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitrine_client.load.capacity.arguments import Options
from vitrine_client.load.capacity.generator import explains
from vitrine_client.load.capacity.search import Step

_WRONG_USAGE = 2
# Beyond a trial's own time, and that of its last requests: for a start, and a report.
_GRACE_SECONDS = 60.0


class TrialFailed(Exception):
    """There is no result; the message says why. `code` is the exit code for it."""

    def __init__(self, reason: str, code: int = 1) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(frozen=True)
class Trial:
    """What a trial came to.

    Attributes:
        number: from 1.
        late: missed by no more than the load generator was late, so that it says nothing about the server.
        errors: the ratio of requests without a good answer; None where there was no request.
        p99_ms: of the good answers; None without any.
        answers_per_second: good ones.
        objectives: each one's text, what was measured (seconds, or a ratio) and whether that keeps it.
        generator: the load generator's own figures.
    """

    number: int
    step: Step
    kept: bool
    late: bool
    requests: int
    errors: float | None
    p99_ms: float | None
    answers_per_second: float
    objectives: Sequence[Mapping[str, Any]]
    generator: Mapping[str, Any]


def run(options: Options, step: Step, number: int, folder: Path) -> Trial:
    """The trial's files, and all that it says, go to `folder`.

    Raises:
        TrialFailed: the process could not make the trial, or was ended by somebody else.
        KeyboardInterrupt: the process was ended in its own way first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    result = folder / "result.json"
    # Of an earlier search in the same folder.
    result.unlink(missing_ok=True)
    log = folder / "log"
    code = _wait(_command(options, step.rate, folder), log, options.seconds + options.settings.timeout + _GRACE_SECONDS)
    if code == _WRONG_USAGE:
        raise TrialFailed(_last_line(log), _WRONG_USAGE)
    try:
        described = json.loads(result.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise TrialFailed(f"a trial ended with code {code} and no result: {_last_line(log)}") from None
    if described["interrupted"]:
        raise TrialFailed("a trial was ended from outside")
    return _trial(described, options, step, number)


def _command(options: Options, rate: float, folder: Path) -> list[str]:
    settings = options.settings
    given = {
        "arrivals": options.profile.arrivals,
        "rate": f"{rate:f}",
        "run-time": f"{options.seconds}s",
        "warm-up": options.warm_up,
        "slo": options.slo,
        "out": str(folder),
        "grpc": settings.grpc,
        "rest": settings.rest,
        "model": settings.model,
        "model-version": "" if settings.version is None else str(settings.version),
        "pictures": settings.pictures,
        "sizes": settings.sizes,
        "models": str(settings.models),
        "transport": settings.transport,
        "request-timeout": str(settings.timeout),
    }
    command = [sys.executable, "-m", "vitrine_client.load", "--headless", "--only-summary"]
    command += [f"--{name}={value}" for name, value in given.items()]
    return command + ([f"--processes={options.workers}"] if options.workers > 1 else [])


def _environment() -> dict[str, str]:
    """What would change a trial beside its options is left out: locust has a variable for each of its own."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("LOCUST_", "VITRINE_STAGES"))}


def _wait(command: Sequence[str], log: Path, longest_seconds: float) -> int:
    with log.open("wb") as said:
        # Ctrl-C is for this process, which ends the trial once and in its own way.
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            env=_environment(),
            start_new_session=True,
        )
    try:
        return process.wait(longest_seconds)
    except subprocess.TimeoutExpired:
        raise TrialFailed(f"a trial did not end within {longest_seconds:.0f} s") from None
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Of one that is still there: it may finish; a second Ctrl-C, or its time's end, kills it and its workers."""
    try:
        if process.poll() is None:
            # Not SIGINT, which Python raises wherever it is just then; locust takes this one between two greenlets.
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_GRACE_SECONDS)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"


def _trial(described: Mapping[str, Any], options: Options, step: Step, number: int) -> Trial:
    figures, generator = described["all"], described["generator"]
    kept = all(objective["kept"] for objective in described["slo"])
    return Trial(
        number=number,
        step=step,
        kept=kept,
        late=not kept and explains(generator, options.profile.objectives, described["slo"], options.settings.timeout),
        requests=figures["requests"],
        errors=figures["error_ratio"],
        p99_ms=figures["latency_ms"]["p99"],
        answers_per_second=figures["requests_per_second"],
        objectives=described["slo"],
        generator=generator,
    )
