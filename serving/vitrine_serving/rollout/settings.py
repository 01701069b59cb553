"""What a rollout is told: how the traffic moves, how long it is judged, and what is still good enough."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Limits:
    """What a canary may be worse than stable by. Ratios are from 0 to 1, times in seconds.

    Attributes:
        error_ratio: failed requests of all, in excess of stable's.
        p50_factor, p99_factor: of stable's latency.
        latency_slack: in excess of the factor, so that a millisecond is not judged by its half.
        disagreement: pictures with another best label than stable gives, of all compared.
        least_requests: of each version, below which a ratio or a percentile says nothing.
    """

    error_ratio: float = 0.01
    p50_factor: float = 1.5
    p99_factor: float = 2.0
    latency_slack: float = 0.02
    disagreement: float = 0.1
    least_requests: int = 100


@dataclass(frozen=True)
class RolloutSettings:
    """How one rollout goes.

    Attributes:
        steps: the canary's share of the traffic, in percent, rising.
        judge_seconds: how long each step is judged.
        probe_interval: seconds between two rounds of own questions, each a picture for every server of both versions.
        ready_seconds: how long a version may take until its servers are ready.
        limits: what is still good enough.
        prometheus: its address, such as http://prometheus:9090; None: own questions alone.
        golden_tolerance: how far a probability may be off the manifest's.
        samples: a folder of further pictures to compare both versions with; None: the golden ones alone.
        force: go on with a version that is not blessed or that has other signatures.
    """

    steps: tuple[int, ...] = (5, 25)
    judge_seconds: float = 300.0
    probe_interval: float = 1.0
    ready_seconds: float = 900.0
    limits: Limits = field(default_factory=Limits)
    prometheus: str | None = None
    golden_tolerance: float = 2e-5
    samples: Path | None = None
    force: bool = False
