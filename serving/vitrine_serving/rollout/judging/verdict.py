"""Is the canary as good as stable? Pure functions of the evidence and the limits.

Our own questions are always needed, for only they compare labels. Where Prometheus has counted enough real requests
of both versions, its latencies are judged in place of ours, and its errors besides ours: a server's metrics do not
know of requests that never reached it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vitrine_serving.rollout.evidence import Evidence, Finding, Traffic, Verdict
from vitrine_serving.rollout.judging import probing, prometheus
from vitrine_serving.rollout.settings import Limits

# A ratio that is at its limit is not beyond it for how floats are rounded.
_ROUNDING = 1e-9


def judge(evidence: Sequence[Evidence], limits: Limits) -> Verdict:
    """The verdict at the end of a step. Too little evidence speaks against the canary, as bad evidence does."""
    findings = list(clearly_bad(evidence, limits).findings)
    asked = next((one for one in evidence if one.source == probing.SOURCE), None)
    if asked is None or not _enough(asked, limits):
        findings.append(_too_little(asked, limits))
    elif not asked.compared:
        findings.append(
            Finding("disagreement", False, "no picture was answered by both versions, so none was compared")
        )
    timed = _timed(evidence, limits)
    if timed is not None:
        findings += _latency(timed, limits)
    return Verdict(tuple(findings))


def clearly_bad(evidence: Sequence[Evidence], limits: Limits) -> Verdict:
    """What can be judged at any time: errors and disagreement, where there are enough requests. Ok without any.

    What it is against, `judge` is against as well. Latency has to wait for the end: one slow moment is no verdict.
    """
    findings: list[Finding] = []
    for one in evidence:
        if _enough(one, limits):
            findings.append(_errors(one, limits))
            if one.compared:
                findings.append(_disagreement(one, limits))
    return Verdict(tuple(findings))


def _enough(evidence: Evidence, limits: Limits) -> bool:
    least = max(1, limits.least_requests)
    return min(evidence.stable.requests, evidence.canary.requests) >= least


def _too_little(asked: Evidence | None, limits: Limits) -> Finding:
    stable, canary = (asked.stable.requests, asked.canary.requests) if asked else (0, 0)
    return Finding(
        "evidence",
        False,
        f"too little evidence: {canary} own requests to the canary and {stable} to stable, {limits.least_requests} of "
        "each are needed: either cannot be reached, or judge for longer, ask more often, or need fewer",
    )


def _timed(evidence: Sequence[Evidence], limits: Limits) -> Evidence | None:
    """Whose latencies are judged: real traffic's before our own."""
    enough = {one.source: one for one in evidence if _enough(one, limits)}
    return enough.get(prometheus.SOURCE, enough.get(probing.SOURCE))


def _errors(evidence: Evidence, limits: Limits) -> Finding:
    stable, canary = _ratio(evidence.stable), _ratio(evidence.canary)
    ok = canary - stable <= limits.error_ratio + _ROUNDING
    return Finding(
        f"errors ({evidence.source})",
        ok,
        f"errors {_percent(canary)} ({evidence.canary.errors} of {evidence.canary.requests}) against stable's "
        f"{_percent(stable)}: {_compared(ok)} {_percent(limits.error_ratio)} in excess ({evidence.source})",
    )


def _disagreement(evidence: Evidence, limits: Limits) -> Finding:
    ratio = evidence.disagreements / evidence.compared
    ok = ratio <= limits.disagreement + _ROUNDING
    return Finding(
        "disagreement",
        ok,
        f"another best label than stable's for {_percent(ratio)} of the pictures ({evidence.disagreements} of "
        f"{evidence.compared}): {_compared(ok)} {_percent(limits.disagreement)}",
    )


def _latency(evidence: Evidence, limits: Limits) -> Iterator[Finding]:
    # From a histogram nobody can tell a smaller factor than that of its buckets.
    finest = prometheus.BUCKET_GROWTH if evidence.source == prometheus.SOURCE else 0.0
    stable, canary = evidence.stable, evidence.canary
    for name, factor, there, here, at_least in (
        ("p50", limits.p50_factor, stable.p50, canary.p50, canary.p50_at_least),
        ("p99", limits.p99_factor, stable.p99, canary.p99, canary.p99_at_least),
    ):
        check = f"{name} latency ({evidence.source})"
        if here is None or there is None:
            who = "canary" if here is None else "stable"
            yield Finding(check, False, f"{name} latency: {who} gave no good answer to be timed ({evidence.source})")
            continue
        factor = max(factor, finest)
        # Of fifty requests one slow one is the p99, whoever made it wait.
        surely = here if at_least is None else at_least
        ok = surely <= factor * there + limits.latency_slack + _ROUNDING
        yield Finding(
            check,
            ok,
            f"{name} latency {_milliseconds(here)}{_doubt(here, surely)} against stable's {_milliseconds(there)}: "
            f"{_compared(ok)} {factor:.1f} times + {_milliseconds(limits.latency_slack)} ({evidence.source})",
        )


def _ratio(traffic: Traffic) -> float:
    return min(1.0, traffic.errors / traffic.requests)


def _compared(ok: bool) -> str:
    return "within" if ok else "more than"


def _percent(ratio: float) -> str:
    return f"{100 * ratio:.3g} %"


def _doubt(here: float, surely: float) -> str:
    return f" (surely {_milliseconds(surely)})" if surely < here else ""


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.3g} ms"
