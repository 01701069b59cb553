"""Both versions are watched side by side: before the canary has clients, and while it has a share of them."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Sequence

from vitrine_client.blocking import Client
from vitrine_serving.rollout.errors import NotAnswered
from vitrine_serving.rollout.evidence import Evidence, Finding, Verdict
from vitrine_serving.rollout.judging.probing import Prober
from vitrine_serving.rollout.judging.prometheus import traffic_evidence
from vitrine_serving.rollout.judging.samples import sample_pictures
from vitrine_serving.rollout.judging.verdict import clearly_bad, judge
from vitrine_serving.rollout.report import Report
from vitrine_serving.rollout.settings import RolloutSettings
from vitrine_serving.rollout.target import Target, Track
from vitrine_serving.rollout.version_store import Candidate

# Of a track, in one round: a fleet of a thousand would take minutes, and says no more.
_MOST_SERVERS = 8
# Prometheus learns nothing new in between.
_PROMETHEUS_SECONDS = 15.0
# As long as that, for there to be enough requests.
_LONGEST = 5
# The normal distribution's quantile for 95 %, both ends.
_Z = 1.96


def compare_labels(target: Target, candidate: Candidate, settings: RolloutSettings) -> Finding:
    """Each sample picture once to both versions. Not ok where they disagree beyond the limit and beyond chance.

    No client has been sent to the canary yet, so none sees a version that is well made and wrong. A few pictures prove
    little: what counts is the lower bound of the Wilson score interval (1927) of 95 %.

    Raises NotAnswered where not one was answered by both.
    """
    pictures = sample_pictures(candidate, settings.samples)
    with Prober(lambda track: _some(target.clients(track)), pictures) as prober:
        for _ in pictures:
            prober.ask_round()
        asked = prober.evidence()
    if not asked.compared:
        raise NotAnswered(prober.last_error or "nobody was there to be asked")
    least = _least_ratio(asked.disagreements, asked.compared)
    return Finding(
        "disagreement",
        least <= settings.limits.disagreement,
        f"another best label than stable's for {asked.disagreements} of {asked.compared} pictures, so for at least "
        f"{least:.1%} of all, where {settings.limits.disagreement:.1%} are allowed",
    )


def watch(target: Target, candidate: Candidate, settings: RolloutSettings, report: Report) -> Verdict:
    """Watch for `judge_seconds`, then judge; sooner where the canary is beyond doubt bad.

    Raises CommandError and VitrineError where the target cannot be looked at.
    """
    begun = time.monotonic()
    traffic = _Traffic(target, settings)
    with Prober(lambda track: _some(target.clients(track)), sample_pictures(candidate, settings.samples)) as prober:
        while True:
            round_begun = time.monotonic()
            prober.ask_round()
            passed = time.monotonic() - begun
            asked = prober.evidence()
            evidence = [asked, *traffic.evidence(passed, report)]
            if not (verdict := clearly_bad(evidence, settings.limits)).ok:
                return verdict
            health = target.canary_health(candidate.version)
            if health.failed:
                return Verdict((Finding("servers", False, health.told),))
            enough = min(asked.stable.requests, asked.canary.requests) >= settings.limits.least_requests
            # A slow model, or one of many servers, is asked less often than it should be.
            if passed >= settings.judge_seconds * (1 if enough else _LONGEST):
                break
            report.progress(_told(asked, passed, settings.judge_seconds))
            time.sleep(max(0.0, settings.probe_interval - (time.monotonic() - round_begun)))
        verdict = judge([asked, *traffic.evidence(passed, report, last=True)], settings.limits)
        if prober.last_error:
            report.say(f"  the last error: {prober.last_error}")
        return verdict


class _Traffic:
    """The clients' own requests, where there is a Prometheus; asked now and then."""

    def __init__(self, target: Target, settings: RolloutSettings) -> None:
        self._target = target
        self._address = settings.prometheus
        self._asked_at = time.monotonic()
        self._evidence: list[Evidence] = []
        self._noted = ""

    def evidence(self, passed: float, report: Report, *, last: bool = False) -> list[Evidence]:
        now = time.monotonic()
        if self._address is not None and (last or now - self._asked_at >= _PROMETHEUS_SECONDS):
            self._asked_at = now
            stable, canary = map(self._target.prometheus_selectors, (Track.STABLE, Track.CANARY))
            found, note = traffic_evidence(self._address, stable, canary, passed)
            self._evidence = [found] if found else []
            if note and note != self._noted:
                self._noted = note
                report.say(f"  {note}")
        return self._evidence


def _some(clients: Sequence[Client]) -> Sequence[Client]:
    """At most _MOST_SERVERS of them, others each time; the rest is closed."""
    chosen = random.sample(range(len(clients)), min(_MOST_SERVERS, len(clients)))
    for number, client in enumerate(clients):
        if number not in chosen:
            client.close()
    return [clients[number] for number in chosen]


def _least_ratio(disagreements: int, compared: int) -> float:
    """The lower end of the Wilson score interval."""
    ratio, square = disagreements / compared, _Z**2 / compared
    spread = _Z * math.sqrt(ratio * (1 - ratio) / compared + square / (4 * compared))
    return max(0.0, (ratio + square / 2 - spread) / (1 + square))


def _told(asked: Evidence, passed: float, seconds: float) -> str:
    times = " and ".join("-" if p99 is None else f"{p99 * 1000:.0f}" for p99 in (asked.canary.p99, asked.stable.p99))
    return (
        f"judged for {passed:.0f} of {seconds:g} s: {asked.canary.errors} errors of {asked.canary.requests} questions "
        f"to the canary, {asked.disagreements} of {asked.compared} labels differ, p99 {times} ms (canary and stable)"
    )
