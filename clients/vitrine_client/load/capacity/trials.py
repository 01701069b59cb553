"""One trial: `python -m vitrine_client.load` in a process of its own, and what its result says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitrine_client.load.capacity.arguments import Options
from vitrine_client.load.capacity.generator import explains
from vitrine_client.load.capacity.search import Step
from vitrine_client.load.process import result_of


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
        NoResult: the process could not make the trial, or was ended by somebody else.
        KeyboardInterrupt: the process was ended in its own way first.
    """
    settings = options.settings
    given = {
        "arrivals": options.profile.arrivals,
        "rate": f"{step.rate:f}",
        "run-time": f"{options.seconds}s",
        "warm-up": options.warm_up,
        "slo": options.slo,
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
    if options.workers > 1:
        given["processes"] = str(options.workers)
    described = result_of(given, folder, options.seconds + settings.timeout)
    return _trial(described, options, step, number)


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
