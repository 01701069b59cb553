"""What a run came to: figures, objectives, and what the server says about itself."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vitrine_client.images.urls import without_credentials
from vitrine_client.load.recording import Recording, Tally
from vitrine_client.load.slo import LATENCIES, Objective

FORMAT = "vitrine-load-1"
PERCENTILES = tuple(name for name in LATENCIES if name.startswith("p"))


@dataclass(frozen=True)
class Figures:
    """Requests within `seconds`. Latencies are in seconds, of good answers alone.

    A failure may be fast or slow and is neither: `error_ratio` tells of it.
    """

    tally: Tally
    seconds: float

    @property
    def requests_per_second(self) -> float:
        """Good answers."""
        return self.tally.latencies.count / self.seconds if self.seconds > 0 else 0.0

    def latency(self, metric: str) -> float | None:
        """`mean`, `max` or `p50`, `p99.9` and so on; None without a good answer."""
        latencies = self.tally.latencies
        if not latencies.count:
            return None
        if metric == "mean":
            return latencies.mean
        return latencies.max if metric == "max" else latencies.percentile(float(metric[1:]))

    def measured(self, metric: str) -> float | None:
        """What an objective's metric came to; None where nothing was asked."""
        if not self.tally.requests:
            return None
        if metric == "errors":
            return self.tally.error_ratio
        return self.requests_per_second if metric == "rps" else self.latency(metric)

    def to_json(self) -> dict[str, Any]:
        return {
            "requests": self.tally.requests,
            "answered": self.tally.latencies.count,
            "errors": dict(self.tally.errors.most_common()),
            "error_ratio": self.tally.error_ratio,
            "requests_per_second": self.requests_per_second,
            "latency_ms": {name: _milliseconds(self.latency(name)) for name in LATENCIES},
        }


@dataclass(frozen=True)
class Kept:
    """An objective, what was measured, and whether that keeps it."""

    objective: Objective
    measured: float | None

    @property
    def kept(self) -> bool:
        return self.objective.kept(self.measured)

    @property
    def told(self) -> str:
        """What was measured, in the unit that objectives are written in."""
        if self.measured is None:
            return "nothing was measured"
        if self.objective.metric == "errors":
            return f"{self.measured * 100:.3g} %"
        if self.objective.metric == "rps":
            return f"{self.measured:,.1f}/s"
        return f"{self.measured * 1000:,.4g} ms"

    def to_json(self) -> dict[str, Any]:
        """`measured` is in seconds, or a ratio of errors, or in good answers per second."""
        return {"text": self.objective.text, "measured": self.measured, "told": self.told, "kept": self.kept}


@dataclass(frozen=True)
class Result:
    """One run.

    Attributes:
        started: when, in ISO format.
        seconds: how long requests were counted, from the end of the warm-up.
        warm_up: seconds from the run's begin.
        interrupted: it ended before its time, or had none.
        settings: what was asked of whom and how, by name; None for what was not given.
        figures, transports: all together, and by transport.
        timeline: see `timeline`.
        generator: `late_ms_p99`, `dropped`, `workers`, and a `note` where the load was not what was asked for.
        server, server_note: see `server_metrics.difference`; why there is none.
    """

    started: str
    seconds: float
    warm_up: float
    interrupted: bool
    settings: Mapping[str, Any]
    figures: Figures
    transports: Mapping[str, Figures]
    timeline: Sequence[Mapping[str, Any]]
    objectives: Sequence[Kept]
    generator: Mapping[str, Any]
    server: Mapping[str, Any] | None
    server_note: str

    @property
    def kept(self) -> bool | None:
        """Whether all objectives are; None without any."""
        return all(one.kept for one in self.objectives) if self.objectives else None

    @property
    def ok(self) -> bool:
        """All objectives are kept; without any, there was a good answer to every request."""
        if self.kept is not None:
            return self.kept
        return self.figures.tally.requests > 0 and not self.figures.tally.errors

    def to_json(self) -> dict[str, Any]:
        """The file `result.json`; passwords in addresses are left out."""
        return {
            "format": FORMAT,
            "started": self.started,
            "seconds": self.seconds,
            "warm_up": self.warm_up,
            "interrupted": self.interrupted,
            "settings": {
                name: without_credentials(value) if isinstance(value, str) else value
                for name, value in self.settings.items()
            },
            "all": self.figures.to_json(),
            "transports": {name: figures.to_json() for name, figures in self.transports.items()},
            "slo": [one.to_json() for one in self.objectives],
            "kept": self.kept,
            "generator": dict(self.generator),
            "server": None if self.server is None else dict(self.server),
            "server_note": self.server_note,
            "timeline": [dict(row) for row in self.timeline],
        }


def figures_of(
    recording: Recording, first: float, last: float, transports: Iterable[str]
) -> tuple[Figures, dict[str, Figures]]:
    """All together and by transport, of what was due from second `first` until `last`, when the run ended.

    What was recorded is kept by whole seconds: counting starts with the first one that is wholly behind `first`.
    """
    begin = math.ceil(first)
    seconds = max(0.0, last - begin)
    by_transport = {name: Figures(recording.total(begin, [name]), seconds) for name in transports}
    return Figures(recording.total(begin, by_transport), seconds), by_transport


def held(objectives: Iterable[Objective], figures: Figures, transports: Mapping[str, Figures]) -> list[Kept]:
    """The objectives against the figures they are about; those about a transport that was not asked are not kept."""
    found = []
    for objective in objectives:
        about = figures if objective.transport is None else transports.get(objective.transport)
        found.append(Kept(objective, None if about is None else about.measured(objective.metric)))
    return found


def timeline(recording: Recording, seconds: int, offered: Sequence[float | None]) -> list[dict[str, Any]]:
    """A row for each second since the run's begin, the warm-up's as well.

    Args:
        offered: requests that an open loop should have begun in each second; None in a closed one.
    """
    tallies = [Tally() for _ in range(seconds)]
    for (second, _), one in recording.tallies.items():
        if second < seconds:
            tallies[second].merge(one)
    rows = []
    users = 0
    for second, tally in enumerate(tallies):
        # A busy process counts its users late, and then not for each second.
        users = recording.users.get(second, users)
        rows.append(
            {
                "second": second,
                "users": users,
                "offered": offered[second],
                "requests": tally.requests,
                "answered": tally.latencies.count,
                "errors": dict(tally.errors),
                **{name: _milliseconds(tally.latencies.percentile(float(name[1:]))) for name in PERCENTILES},
            }
        )
    return rows


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 4)
