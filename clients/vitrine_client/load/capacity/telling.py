"""What a search has found, in sentences."""

from __future__ import annotations

from vitrine_client.load.capacity.confidence import CONFIDENCE, METHOD, at_least, at_most
from vitrine_client.load.capacity.search import Ending, Finding, Step, Tried
from vitrine_client.load.capacity.trials import Trial


def rate_of(rate: float) -> str:
    """Requests per second, without an exponent."""
    return f"{rate:.7g}"


def sentences(finding: Finding, slo: str, seconds: int) -> list[str]:
    """The finding, and what so few trials can say of the next one.

    Args:
        seconds: of a trial.
    """
    return [_found(finding, slo), *_confidence(finding, seconds)]


def progress(trial: Trial, following: Step | None) -> str:
    """One line: what a trial has come to, and which one is next."""
    p99 = "no answer" if trial.p99_ms is None else f"p99 {trial.p99_ms:.1f} ms"
    errors = "no request" if trial.errors is None else f"errors {100 * trial.errors:.2g}%"
    missed = ", ".join(one["text"] for one in trial.objectives if not one["kept"])
    verdict = f"missed {missed}" if missed else "kept"
    if trial.late:
        verdict += ", by the load generator's own delay"
    following_told = "the last one" if following is None else f"next {rate_of(following.rate)}/s, {following.why}"
    return f"trial {trial.number}: {rate_of(trial.step.rate)} requests/s: {p99}, {errors}: {verdict}; {following_told}"


def _found(finding: Finding, slo: str) -> str:
    low = finding.low
    if finding.ending is Ending.UNFINISHED:
        return _so_far(finding, slo)
    if low is None:
        return f"no rate was found that keeps {slo}{_why_none(finding)}"
    at_least_told = "at least " if finding.ending in (Ending.GENERATOR, Ending.MOST) else ""
    trials = "; ".join((f"kept in {_of(low.kept, low)}", *_unsteady(finding), *_above(finding)))
    return f"{at_least_told}{rate_of(low.rate)} requests/s keep {slo} ({trials}){_generator(finding)}"


def _so_far(finding: Finding, slo: str) -> str:
    low, high, limit = finding.low, finding.high, finding.limit
    known = []
    if low is not None:
        known += [f"{rate_of(low.rate)}/s kept in {_of(low.kept, low)}"]
    known += _unsteady(finding)
    if high is not None:
        known += [f"{rate_of(high.rate)}/s missed in {_of(high.missed, high)}"]
    if limit is not None:
        known += [f"the load generator was late itself at {rate_of(limit.rate)}/s"]
    return f"not finished; so far of {slo}: {'; '.join(known) or 'nothing is known'}"


def _why_none(finding: Finding) -> str:
    tried = [*finding.unsteady, *([finding.high] if finding.high else [])]
    missed = "".join(f"; {rate_of(one.rate)}/s missed in {_of(one.missed, one)}" for one in tried)
    return missed + _generator(finding)


def _unsteady(finding: Finding) -> list[str]:
    return [f"{rate_of(one.rate)}/s kept in {one.kept} of {one.trials}" for one in finding.unsteady]


def _above(finding: Finding) -> list[str]:
    high = finding.high
    missed = [] if high is None else [f"{rate_of(high.rate)}/s missed in {high.missed} of {high.trials}"]
    if finding.ending is Ending.GENERATOR:
        return missed
    return [*missed, "between these rates nothing is known"] if missed else ["no higher rate was to be tried"]


def _generator(finding: Finding) -> str:
    if finding.limit is None:
        return ""
    return (
        f"; the load generator is the limit: it was late itself at {rate_of(finding.limit.rate)}/s, which says nothing "
        "about the server: give it more --workers, or a machine of its own"
    )


def _of(count: int, tried: Tried) -> str:
    return f"{count} of {tried.trials} trial{'' if tried.trials == 1 else 's'}"


def _confidence(finding: Finding, seconds: int) -> list[str]:
    low, high = finding.low, finding.high
    bounds: list[str] = []
    if finding.ending is Ending.UNFINISHED:
        return bounds
    if low is not None:
        bounds.append(f"at least {at_least(low.kept, low.trials):.0%} at {rate_of(low.rate)}/s")
    if high is not None:
        bounds.append(f"at most {at_most(high.kept, high.trials):.0%} at {rate_of(high.rate)}/s")
    if not bounds:
        return []
    return [
        f"With {CONFIDENCE:.0%} confidence, the next trial of {seconds} s is kept with a probability of "
        f"{' and '.join(bounds)} ({METHOD}; each rate by itself)."
    ]
