"""When a canary is as good as stable, and what is said where it is not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitrine_serving.rollout.evidence import Evidence, Traffic
from vitrine_serving.rollout.judging.verdict import clearly_bad, judge
from vitrine_serving.rollout.settings import Limits

LIMITS = Limits()
GOOD = Traffic(300, 0, 0.010, 0.023)
PROBED = Evidence("probing", GOOD, GOOD, compared=300, disagreements=0)
COUNTED = Evidence("prometheus", GOOD, GOOD, compared=0, disagreements=0)


def probed(**canary: float) -> Evidence:
    return replace(PROBED, canary=replace(GOOD, **canary))


def counted(**canary: float) -> Evidence:
    return replace(COUNTED, canary=replace(GOOD, **canary))


def test_a_canary_like_stable_is_good_and_all_that_was_seen_is_told() -> None:
    verdict = judge([PROBED], LIMITS)
    assert verdict.ok and verdict.reason == ""
    assert [finding.told for finding in verdict.findings] == [
        "errors 0 % (0 of 300) against stable's 0 %: within 1 % in excess (probing)",
        "another best label than stable's for 0 % of the pictures (0 of 300): within 10 %",
        "p50 latency 10 ms against stable's 10 ms: within 1.5 times + 20 ms (probing)",
        "p99 latency 23 ms against stable's 23 ms: within 2.0 times + 20 ms (probing)",
    ]


@pytest.mark.parametrize(
    ("evidence", "reason"),
    [
        (probed(p99=0.081), "p99 latency 81 ms against stable's 23 ms: more than 2.0 times + 20 ms (probing)"),
        (probed(p50=0.036), "p50 latency 36 ms against stable's 10 ms: more than 1.5 times + 20 ms (probing)"),
        (probed(errors=4), "errors 1.33 % (4 of 300) against stable's 0 %: more than 1 % in excess (probing)"),
        (
            replace(PROBED, disagreements=31),
            "another best label than stable's for 10.3 % of the pictures (31 of 300): more than 10 %",
        ),
    ],
)
def test_what_is_beyond_a_limit_is_the_reason(evidence: Evidence, reason: str) -> None:
    verdict = judge([evidence], LIMITS)
    assert not verdict.ok and verdict.reason == reason


def test_what_is_at_a_limit_is_within_it() -> None:
    evidence = replace(probed(errors=3, p50=0.035, p99=0.066), disagreements=30)
    assert judge([evidence], LIMITS).ok


def test_what_so_few_requests_may_say_by_chance_is_not_held_against_the_canary() -> None:
    verdict = judge([probed(p99=0.365, p99_at_least=0.030)], LIMITS)
    assert verdict.ok
    told = "p99 latency 365 ms (surely 30 ms) against stable's 23 ms: within 2.0 times + 20 ms (probing)"
    assert told in [finding.told for finding in verdict.findings]
    verdict = judge([probed(p99=0.365, p99_at_least=0.081)], LIMITS)
    assert verdict.reason == told.replace("30 ms", "81 ms").replace("within", "more than")


def test_errors_that_stable_has_as_well_are_not_the_canarys() -> None:
    failing = replace(GOOD, errors=60)
    assert judge([replace(PROBED, stable=failing, canary=failing)], LIMITS).ok


def test_all_that_is_wrong_is_told_together() -> None:
    verdict = judge([replace(probed(errors=200, p50=1.0, p99=2.0), disagreements=100)], LIMITS)
    assert verdict.reason.count(";") == 3


def test_real_traffic_is_timed_before_our_own_questions() -> None:
    verdict = judge([probed(p99=9.0), COUNTED], LIMITS)
    assert verdict.ok
    assert "p99 latency 23 ms against stable's 23 ms: within 2.0 times + 20 ms (prometheus)" in [
        finding.told for finding in verdict.findings
    ]
    assert not judge([PROBED, counted(p99=9.0)], LIMITS).ok


def test_too_little_real_traffic_is_passed_over() -> None:
    few = counted(requests=49, errors=49, p99=9.0)
    assert judge([PROBED, few], LIMITS).ok
    assert not judge([probed(p99=9.0), few], LIMITS).ok


def test_errors_are_judged_wherever_they_were_seen() -> None:
    assert "(probing)" in judge([probed(errors=30), COUNTED], LIMITS).reason
    assert "(prometheus)" in judge([PROBED, counted(errors=30)], LIMITS).reason


def test_a_factor_finer_than_a_histograms_buckets_is_not_judged_by_them() -> None:
    # Two neighbouring buckets: the latencies in them may be as good as equal.
    coarse = replace(COUNTED, stable=replace(GOOD, p50=0.150), canary=replace(GOOD, p50=0.270))
    assert judge([PROBED, coarse], LIMITS).ok
    assert not judge([replace(coarse, source="probing", compared=300)], LIMITS).ok


@pytest.mark.parametrize(
    "evidence", [[], [COUNTED], [probed(requests=49)], [replace(PROBED, stable=replace(GOOD, requests=0))]]
)
def test_too_little_evidence_speaks_against_the_canary(evidence: list[Evidence]) -> None:
    verdict = judge(evidence, LIMITS)
    assert (
        not verdict.ok
        and "too little evidence" in verdict.reason
        and f"{LIMITS.least_requests} of each are needed" in verdict.reason
    )


def test_versions_that_never_both_answer_cannot_be_compared() -> None:
    down = Traffic(300, 300, None, None)
    verdict = judge([Evidence("probing", down, down, 0, 0)], LIMITS)
    assert not verdict.ok
    assert "no picture was answered by both" in verdict.reason and "gave no good answer to be timed" in verdict.reason


def test_errors_and_other_labels_need_not_wait_for_the_end() -> None:
    assert not clearly_bad([probed(errors=30)], LIMITS).ok
    assert not clearly_bad([replace(PROBED, disagreements=100)], LIMITS).ok
    assert not clearly_bad([PROBED, counted(errors=30)], LIMITS).ok


def test_slow_moments_and_first_requests_wait_for_the_end() -> None:
    assert clearly_bad([probed(p50=9.0, p99=9.0)], LIMITS).ok
    assert clearly_bad([probed(requests=49, errors=49)], LIMITS).ok
    assert clearly_bad([], LIMITS).ok


times = st.none() | st.floats(0, 10)


@st.composite
def traffics(draw: st.DrawFn) -> Traffic:
    requests = draw(st.integers(0, 400))
    return Traffic(requests, draw(st.integers(0, requests)), draw(times), draw(times))


@st.composite
def evidences(draw: st.DrawFn) -> list[Evidence]:
    compared = draw(st.integers(0, 400))
    disagreements = draw(st.integers(0, compared))
    probing = Evidence("probing", draw(traffics()), draw(traffics()), compared, disagreements)
    prometheus = Evidence("prometheus", draw(traffics()), draw(traffics()), 0, 0)
    return draw(st.sampled_from([[probing], [probing, prometheus], [prometheus, probing]]))


@st.composite
def worse(draw: st.DrawFn, evidence: Evidence) -> Evidence:
    """The same requests; more of the canary's failed, or took longer, or disagreed."""
    canary = evidence.canary
    slower = {
        name: None if value is None else value + draw(st.floats(0, 5))
        for name, value in (("p50", canary.p50), ("p99", canary.p99))
    }
    errors = draw(st.integers(canary.errors, canary.requests))
    disagreements = draw(st.integers(evidence.disagreements, evidence.compared))
    return replace(evidence, canary=replace(canary, errors=errors, **slower), disagreements=disagreements)


@given(st.data())
def test_a_worse_canary_never_turns_a_bad_verdict_good(data: st.DataObject) -> None:
    evidence = data.draw(evidences())
    even_worse = [data.draw(worse(one)) for one in evidence]
    assert judge(evidence, LIMITS).ok >= judge(even_worse, LIMITS).ok
    assert clearly_bad(evidence, LIMITS).ok >= clearly_bad(even_worse, LIMITS).ok


@given(evidences(), st.floats(0, 1), st.floats(0, 5))
def test_looser_limits_never_turn_a_good_verdict_bad(evidence: list[Evidence], ratio: float, more: float) -> None:
    looser = replace(
        LIMITS,
        error_ratio=LIMITS.error_ratio + ratio,
        disagreement=LIMITS.disagreement + ratio,
        p50_factor=LIMITS.p50_factor + more,
        p99_factor=LIMITS.p99_factor + more,
        latency_slack=LIMITS.latency_slack + more,
    )
    assert judge(evidence, looser).ok >= judge(evidence, LIMITS).ok


@given(evidences())
def test_what_ends_a_step_early_would_have_been_judged_bad_in_the_end(evidence: list[Evidence]) -> None:
    assert clearly_bad(evidence, LIMITS).ok >= judge(evidence, LIMITS).ok
    assert set(clearly_bad(evidence, LIMITS).findings) <= set(judge(evidence, LIMITS).findings)


@given(evidences())
def test_a_bad_verdict_has_a_reason_and_a_good_one_has_none(evidence: list[Evidence]) -> None:
    verdict = judge(evidence, LIMITS)
    assert bool(verdict.reason) != verdict.ok
