"""Runs made by hand, whose figures can be counted by hand."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from typing import Any

from vitrine_client.load.recording import Recording
from vitrine_client.load.results import Result, figures_of, held, timeline
from vitrine_client.load.slo import parse

SETTINGS = {
    "model": "flowers",
    "version": None,
    "grpc": "localhost:8500",
    "rest": "localhost:8501",
    "transport": "both",
    "pictures": "photos",
    "sizes": None,
    "arrivals": "closed",
    "rate": None,
    "stages": None,
    "users": 8,
}
GENERATOR = {"late_ms_p99": None, "dropped": 0, "workers": 1, "note": ""}
SERVER = {
    "address": "http://localhost:8501",
    "requests": 1200,
    "statuses": {"OK": 1190, "INVALID_ARGUMENT": 10},
    "request_ms": {"mean": 9.5, "p50": 8.2, "p90": 14.1, "p99": 31.0},
    "run_ms": {"mean": 8.9, "p50": 7.7, "p90": 13.2, "p99": 29.4},
    "queue_ms": {"mean": 2.1, "p50": 1.5, "p90": 4.2, "p99": 9.8},
    "batched_by": "server",
    "batch_size": {"mean": 3.4, "histogram": [[1, 0], [3, 120], [7, 80], [15, 6]]},
}


def recorded(seconds: int, answers: int = 20, latency: Callable[[int], float] = lambda second: 0.02) -> Recording:
    """So many answers a second by gRPC and half as many by REST, which take twice as long; eight users."""
    found = Recording()
    for second in range(seconds):
        found.users[second] = 8
        for number in range(answers):
            found.add(second + number / answers, "grpc", latency(second))
            if number % 2:
                found.add(second + number / answers, "rest", 2 * latency(second))
    return found


def soak(seconds: int, seed: int = 0) -> Recording:
    """Latencies with a tail, slower in a spike in the middle, where some requests fail."""
    noise = random.Random(seed)
    found = Recording()
    for second in range(seconds):
        found.users[second] = 8 + 40 * second // seconds
        slow = 4 if 0.4 < second / seconds < 0.5 else 1
        for number in range(20 + 10 * second // seconds):
            failure = "Overloaded" if slow > 1 and noise.random() < 0.1 else None
            if failure is None and noise.random() < 0.002:
                failure = "DeadlineExceeded"
            transport = noise.choice(("grpc", "rest"))
            found.add(second + number / 40, transport, slow * noise.lognormvariate(-4, 0.5), failure)
    return found


def result(
    recording: Recording,
    seconds: float,
    warm_up: float = 0.0,
    slo: str = "",
    offered: float | None = None,
    settings: Mapping[str, Any] | None = None,
    **others: Any,
) -> Result:
    """The result of a run of `seconds`, as the collector makes it; `others` are attributes of it."""
    figures, transports = figures_of(recording, warm_up, seconds, ("grpc", "rest"))
    known: dict[str, Any] = {
        "started": "2026-03-01T12:00:00+00:00",
        "seconds": seconds - warm_up,
        "warm_up": warm_up,
        "interrupted": False,
        "settings": SETTINGS | dict(settings or {}),
        "figures": figures,
        "transports": transports,
        "timeline": timeline(recording, math.ceil(seconds), [offered] * math.ceil(seconds)),
        "objectives": held(parse(slo) if slo else [], figures, transports),
        "generator": GENERATOR,
        "server": None,
        "server_note": "http://localhost:8501 has no metrics",
    }
    return Result(**known | others)
