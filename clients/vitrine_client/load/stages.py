"""Load that changes over time: stages such as `ramp:30s:0-200,steady:5m:200,spike:10s:800,soak:30m:200`."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from vitrine_client.errors import InvalidInput
from vitrine_client.load.durations import seconds_of

KINDS = ("ramp", "steady", "spike", "soak")
_EXAMPLE = "such as ramp:30s:0-200,steady:5m:200,spike:10s:800,soak:30m:200"
_LEVEL = re.compile(r"\d+(?:\.\d+)?")


@dataclass(frozen=True)
class Stage:
    """A straight line: from `begin` to `end` (users, or requests per second) within `seconds`."""

    kind: str
    seconds: float
    begin: float
    end: float


@dataclass(frozen=True)
class Stages:
    """Stages one after the other. What is outside of them is 0."""

    stages: Sequence[Stage]

    @classmethod
    def parse(cls, text: str) -> Stages:
        """Raises InvalidInput for anything but `KIND:TIME:LEVEL` or `ramp:TIME:FROM-TO`, with commas in between."""
        return cls([_stage(part.strip()) for part in text.split(",")])

    @classmethod
    def steady(cls, seconds: float, level: float) -> Stages:
        return cls([Stage("steady", seconds, level, level)])

    @property
    def seconds(self) -> float:
        return math.fsum(stage.seconds for stage in self.stages)

    @property
    def highest(self) -> float:
        return max(max(stage.begin, stage.end) for stage in self.stages)

    def level(self, second: float) -> float:
        """Users, or requests per second, at a moment; of two stages that meet there, the later one's."""
        for stage in self.stages:
            if 0 <= second < stage.seconds:
                return stage.begin + (stage.end - stage.begin) * second / stage.seconds
            second -= stage.seconds
        return 0.0

    def requests_until(self, second: float) -> float:
        """The integral of the level from 0: how many requests should have begun, where levels are rates."""
        total = 0.0
        for stage in self.stages:
            inside = min(max(0.0, second), stage.seconds)
            total += inside * (stage.begin + (stage.end - stage.begin) * inside / stage.seconds / 2)
            second -= stage.seconds
        return total

    def second_of(self, request: float) -> float | None:
        """The inverse of `requests_until`: when request number `request` is due; None if that is beyond the end."""
        begin = 0.0
        for stage in self.stages:
            slope = (stage.end - stage.begin) / stage.seconds
            area = stage.seconds * (stage.begin + stage.end) / 2
            if request <= area and area > 0:
                # The root of slope / 2 * t² + begin * t = request, in the form that does not cancel for small slopes.
                root = math.sqrt(max(0.0, stage.begin**2 + 2 * slope * request))
                divisor = stage.begin + root
                return begin + (2 * request / divisor if divisor else 0.0)
            request -= area
            begin += stage.seconds
        return None


def _stage(text: str) -> Stage:
    kind, _, rest = text.partition(":")
    duration, _, levels = rest.partition(":")
    if kind not in KINDS or not levels:
        raise InvalidInput(f"--stages: {text!r} is no stage: KIND:TIME:LEVEL, where KIND is one of {KINDS}, {_EXAMPLE}")
    seconds = seconds_of(duration, "--stages")
    begin, dash, end = levels.partition("-")
    if bool(dash) != (kind == "ramp"):
        raise InvalidInput(f"--stages: {text!r}: a ramp goes FROM-TO, and anything else has one level, {_EXAMPLE}")
    for level in (begin, end)[: 2 if dash else 1]:
        if not _LEVEL.fullmatch(level):
            raise InvalidInput(f"--stages: {text!r}: {level!r} is no number from 0 up, {_EXAMPLE}")
    return Stage(kind, seconds, float(begin), float(end or begin))
