"""How the load goes: who sets the pace, how it changes over time, what is counted, and what is good enough."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitrine_client.errors import InvalidInput
from vitrine_client.load import slo
from vitrine_client.load.arrivals import ARRIVALS
from vitrine_client.load.durations import seconds_of
from vitrine_client.load.stages import Stages

# Where a run's length is not known, or is long: connections are made and caches warm by then.
_WARM_UP_SECONDS = 10.0
_WARM_UP_SHARE = 0.1
# An open loop that somebody will stop.
_ENDLESS_SECONDS = 1e8
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_HIGHEST_RATE = 1e6


@dataclass(frozen=True)
class Profile:
    """One run's load.

    Attributes:
        arrivals: `closed`: users that wait for their answers set the pace; `constant` or `poisson`: requests begin at a
            rate, whatever the server does.
        stages: users of a closed loop, or requests per second of an open one; None for a closed loop whose users
            locust's own options say.
        rate: requests per second, where they do not change.
        told_stages: as they were written, where they were.
        seconds: planned length, None where somebody will stop it.
        warm_up: whole seconds at the beginning that count for nothing.
        objectives: what decides the exit code.
        out: the folder for the result.
    """

    arrivals: str
    stages: Stages | None
    rate: float | None
    told_stages: str | None
    seconds: float | None
    warm_up: int
    objectives: tuple[slo.Objective, ...]
    out: Path | None

    @property
    def is_open(self) -> bool:
        return self.arrivals != "closed"

    def planned_end(self, elapsed: float) -> float | None:
        """`seconds`, where a run that ends after `elapsed` seconds has come to its end; None where it was ended early.

        Clocks that tick by the second may be a little early.
        """
        return self.seconds if self.seconds is not None and elapsed > self.seconds - 1 else None

    @classmethod
    def of(cls, options: argparse.Namespace) -> Profile:
        """Raises InvalidInput for options that contradict each other, or that cannot be read."""
        given = vars(options)
        if given["arrivals"] not in ARRIVALS:
            raise InvalidInput(f"--arrivals: {given['arrivals']!r} is none of {', '.join(ARRIVALS)}")
        stages, seconds = _stages(given)
        objectives = tuple(slo.parse(given["slo"])) if given["slo"] else ()
        out = Path(given["out"]) if given["out"] else None
        return cls(
            arrivals=given["arrivals"],
            stages=stages,
            rate=_rate(given["rate"]),
            told_stages=given["stages"] or None,
            seconds=seconds,
            warm_up=_warm_up(given["warm_up"], seconds),
            objectives=objectives,
            out=out,
        )


def _stages(given: Mapping[str, Any]) -> tuple[Stages | None, float | None]:
    is_open, rate, run_time = given["arrivals"] != "closed", _rate(given["rate"]), given.get("run_time")
    if rate is not None and not is_open:
        raise InvalidInput("--rate is for an open loop: add --arrivals constant or poisson, or give users with -u")
    if given["stages"]:
        if rate is not None or run_time:
            raise InvalidInput("--stages say both rate and time: leave out --rate and --run-time")
        stages = Stages.parse(given["stages"])
        if stages.highest <= 0:
            raise InvalidInput(f"--stages: {given['stages']!r} has nobody ask anything")
        return stages, stages.seconds
    if is_open and rate is None:
        raise InvalidInput(f"--arrivals {given['arrivals']} needs --rate, requests per second, or --stages")
    return None if rate is None else Stages.steady(run_time or _ENDLESS_SECONDS, rate), run_time


def _rate(text: str) -> float | None:
    if not text:
        return None
    if not _NUMBER.fullmatch(text) or not 0 < float(text) < _HIGHEST_RATE:
        raise InvalidInput(f"--rate: {text!r} is not a number of requests per second above 0 and below a million")
    return float(text)


def _warm_up(text: str, seconds: float | None) -> int:
    if not text:
        return math.floor(min(_WARM_UP_SECONDS, _WARM_UP_SHARE * (seconds or _ENDLESS_SECONDS)))
    warm_up = 0 if text == "0" else math.ceil(seconds_of(text, "--warm-up"))
    if seconds is not None and warm_up >= seconds:
        raise InvalidInput(f"--warm-up: {text} leaves nothing of a run of {seconds:g} s; make the run longer")
    return warm_up
