"""Whose fault a missed objective is: the server's, or that of the load generator, which was late itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vitrine_client.load.slo import Objective

# Latencies of which the generator's delay, whose p99 is known, explains its part; it says nothing of those beyond.
_EXPLAINED = ("mean", "p50", "p90", "p99")


def explains(
    generator: Mapping[str, Any], objectives: Sequence[Objective], results: Sequence[Mapping[str, Any]], timeout: float
) -> bool:
    """Whether the delay of the generator may be why objectives were missed; not if one was missed by more than that.

    Latencies count from when a request was due. A generator that sends it late is about as late to take the answer, so
    that twice its delay is in a latency; what is beyond the limit by more is the server's. A delay as long as a
    request's timeout makes requests fail.

    Args:
        generator: `generator` in a trial's result, whose note is empty where it was in time.
        results: `slo` in it, one for each of the objectives.
        timeout: seconds for each request.
    """
    if not generator["note"]:
        return False
    if generator["late_ms_p99"] is None:
        return True
    delay = 2 * generator["late_ms_p99"] / 1000
    return not any(
        _is_beyond(objective, result["measured"], delay, timeout)
        for objective, result in zip(objectives, results, strict=True)
        if not result["kept"]
    )


def _is_beyond(objective: Objective, measured: float | None, delay: float, timeout: float) -> bool:
    if objective.metric == "errors":
        return delay < timeout
    return objective.metric in _EXPLAINED and measured is not None and measured > objective.limit + delay
