"""A search's result: as JSON, CSV and a page, complete or as far as it has come."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vitrine_client.load.capacity.arguments import Options
from vitrine_client.load.capacity.confidence import CONFIDENCE, at_least, at_most
from vitrine_client.load.capacity.page import page
from vitrine_client.load.capacity.search import Finding, Tried
from vitrine_client.load.capacity.telling import sentences
from vitrine_client.load.capacity.trials import Trial

FORMAT = "vitrine-capacity-1"
_COLUMNS = (
    ("trial", "number"),
    ("requests_per_second", "rate"),
    ("why", "why"),
    ("verdict", "verdict"),
    ("requests", "requests"),
    ("answers_per_second", "answers_per_second"),
    ("p99_ms", "p99_ms"),
    ("error_ratio", "errors"),
    ("generator_late_ms_p99", "generator_late_ms_p99"),
)


def described(
    options: Options, finding: Finding, trials: Sequence[Trial], started: str, stopped: str
) -> dict[str, Any]:
    """Plain values: what the files and `--json` have.

    Args:
        started: ISO time.
        stopped: why there is no more; empty where the search came to its end.
    """
    settings = options.settings
    return {
        "format": FORMAT,
        "started": started,
        "slo": options.slo,
        "ending": finding.ending.name.lower(),
        "stopped": stopped,
        "told": sentences(finding, options.slo, options.seconds),
        "confidence": CONFIDENCE,
        "kept": _tried(finding.low),
        "unsteady": [_tried(one) for one in finding.unsteady],
        "missed": _tried(finding.high),
        "generator_limit": None if finding.limit is None else finding.limit.rate,
        "settings": {
            "model": settings.model,
            "version": settings.version,
            "grpc": settings.grpc if settings.asks_over("grpc") else None,
            "rest": settings.rest if settings.asks_over("rest") else None,
            "pictures": settings.pictures or None,
            "sizes": settings.sizes or None,
            "arrivals": options.profile.arrivals,
            "start": options.plan.start,
            "most": options.plan.most,
            "precision": options.plan.precision,
            "repeats": options.plan.repeats,
            "trial_seconds": options.seconds,
            "warm_up": options.profile.warm_up,
            "request_timeout": settings.timeout,
            "workers": options.workers,
        },
        "trials": [_trial(trial) for trial in trials],
    }


def write(result: Mapping[str, Any], folder: Path) -> None:
    """`capacity.json`, `capacity.csv` and `capacity.html`; each is whole or not there. Raises OSError."""
    for name, text in (
        ("capacity.json", json.dumps(result, indent=1) + "\n"),
        ("capacity.csv", _csv(result["trials"])),
        ("capacity.html", page(result)),
    ):
        half = folder / f".{name}.{os.getpid()}"
        half.write_text(text, encoding="utf-8")
        half.replace(folder / name)


def _tried(tried: Tried | None) -> dict[str, float] | None:
    if tried is None:
        return None
    return {
        "requests_per_second": tried.rate,
        "trials": tried.trials,
        "kept": tried.kept,
        "probability_at_least": at_least(tried.kept, tried.trials),
        "probability_at_most": at_most(tried.kept, tried.trials),
    }


def _trial(trial: Trial) -> dict[str, Any]:
    return {
        "number": trial.number,
        "rate": trial.step.rate,
        "why": trial.step.why,
        "verdict": "late" if trial.late else "kept" if trial.kept else "missed",
        "requests": trial.requests,
        "answers_per_second": trial.answers_per_second,
        "p99_ms": trial.p99_ms,
        "errors": trial.errors,
        "objectives": [dict(objective) for objective in trial.objectives],
        "generator_late_ms_p99": trial.generator["late_ms_p99"],
        "note": trial.generator["note"],
    }


def _csv(trials: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header for header, _ in _COLUMNS)
    writer.writerows([trial[name] for _, name in _COLUMNS] for trial in trials)
    return text.getvalue()
