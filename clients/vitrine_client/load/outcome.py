"""One run as its collector knows it, and the result that it becomes."""

from __future__ import annotations

import itertools
import math
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from vitrine_client.load import server_metrics
from vitrine_client.load.profile import Profile
from vitrine_client.load.recording import Recording
from vitrine_client.load.results import Result, figures_of, held, timeline
from vitrine_client.load.settings import Settings

# A generator that is later than this measures itself.
_LATE_SECONDS = 0.01


@dataclass
class Outcome:
    """A run under way.

    Attributes:
        workers: processes with users.
        before: the server's own figures at the beginning; None, and why in `note`.
        begun: by time.perf_counter().
        seconds: how long it went, once it is over.
    """

    settings: Settings
    profile: Profile
    workers: int
    before: server_metrics.Scrape | None
    note: str
    started: datetime
    begun: float = field(default_factory=time.perf_counter)
    seconds: float | None = None
    recording: Recording = field(default_factory=Recording)

    def elapsed(self) -> float:
        return time.perf_counter() - self.begun

    def end(self) -> None:
        """No more requests begin from now on."""
        if self.seconds is None:
            self.seconds = self.elapsed()


def result_of(outcome: Outcome, after: server_metrics.Scrape | None, note: str) -> Result:
    """What was measured from the warm-up's end to the run's.

    Args:
        after: the server's own figures at the end; None, and why in `note`.
    """
    profile, recording = outcome.profile, outcome.recording
    elapsed = outcome.elapsed() if outcome.seconds is None else outcome.seconds
    last = profile.planned_end(elapsed) or elapsed
    # A run that was ended within its warm-up has nothing else to show.
    first = profile.warm_up if last > profile.warm_up else 0
    figures, transports = figures_of(recording, first, last, outcome.settings.transports)
    # Workers begin, and end, a little later than their master.
    rows = max([math.ceil(last), *(second + 1 for second, _ in recording.tallies)])
    server, server_note = None, outcome.note or note
    if outcome.before is not None and after is not None:
        try:
            server = server_metrics.difference(outcome.before, after)
        except server_metrics.NoMetrics as error:
            server_note = str(error)
    return Result(
        started=outcome.started.isoformat(timespec="seconds"),
        seconds=last - first,
        warm_up=first,
        interrupted=profile.seconds is not None and profile.planned_end(elapsed) is None,
        settings=_settings(outcome),
        figures=figures,
        transports=transports,
        timeline=timeline(recording, rows, _offered(profile, rows)),
        objectives=held(profile.objectives, figures, transports),
        generator=_generator(outcome),
        server=server,
        server_note=server_note,
    )


def _settings(outcome: Outcome) -> dict[str, Any]:
    settings, profile = outcome.settings, outcome.profile
    return {
        "model": settings.model,
        "version": settings.version,
        "grpc": settings.grpc if settings.asks_over("grpc") else None,
        "rest": settings.rest if settings.asks_over("rest") else None,
        "pictures": settings.pictures or f"golden pictures of {settings.models / settings.model}",
        "sizes": settings.sizes or None,
        "transport": settings.transport,
        "arrivals": profile.arrivals,
        "rate": profile.rate,
        "stages": profile.told_stages,
        "users": max(outcome.recording.users.values(), default=0),
    }


def _offered(profile: Profile, seconds: int) -> list[float | None]:
    if profile.stages is None or not profile.is_open:
        return [None] * seconds
    until = [profile.stages.requests_until(second) for second in range(seconds + 1)]
    return [end - begin for begin, end in itertools.pairwise(until)]


def _generator(outcome: Outcome) -> dict[str, Any]:
    recording = outcome.recording
    late = recording.late.percentile(99)
    note = ""
    if recording.dropped:
        note = f"{recording.dropped} requests were not sent, for too many were under way"
    elif late is not None and late > _LATE_SECONDS:
        note = (
            f"1 % of the requests were sent {late * 1000:.0f} ms or more after they were due: this load generator is "
            "short of processor; give it more workers, or a machine of its own"
        )
    return {
        "late_ms_p99": None if late is None else late * 1000,
        "dropped": recording.dropped,
        "workers": outcome.workers,
        "note": note,
    }
