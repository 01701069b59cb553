"""Spreads, verdicts and curves: what the tables and targets of docs/performance.md are made of."""

from __future__ import annotations

import pytest

from benchmarks.performance.curves import Point, kept, percentile, ratios, spread, throughput_at, verdict


def _curve(*points: tuple[int, float, float]) -> list[Point]:
    return [Point(clients, throughput, p99 / 2, p99, failed=0) for clients, throughput, p99 in points]


CURVE = _curve((1, 50, 20), (4, 90, 40), (16, 100, 200), (32, 105, 400))


@pytest.mark.parametrize(
    ("p99", "expected"),
    [(10, None), (20, 50), (30, 70), (40, 90), (120, 95), (200, 100), (300, 102.5), (400, 105), (9999, 105)],
)
def test_throughput_is_interpolated_at_the_percentile(p99: float, expected: float | None) -> None:
    assert throughput_at(CURVE, p99) == (None if expected is None else pytest.approx(expected))


def test_more_latency_allowed_never_means_less_throughput() -> None:
    # As measured on a noisy machine: neither figure rises with the clients all the way.
    noisy = _curve((1, 50, 60), (4, 90, 40), (16, 80, 200), (32, 110, 150))
    found = [throughput_at(noisy, p99) or 0.0 for p99 in range(30, 260)]
    assert found == sorted(found)
    assert found[-1] == 110


def test_the_order_of_the_points_does_not_matter() -> None:
    assert throughput_at(CURVE[::-1], 120) == throughput_at(CURVE, 120)


@pytest.mark.parametrize(
    ("found", "more_is_better", "expected"),
    [
        ([1.01, 1.2, 1.1, 1.3, 1.05], True, "ahead"),
        ([1.01, 1.2, 1.1, 1.3, 1.05], False, "behind"),
        ([0.9, 0.8, 0.99, 0.7, 0.9], True, "behind"),
        ([0.9, 0.8, 0.99, 0.7, 0.9], False, "ahead"),
        ([1.5, 1.5, 1.5, 1.5, 0.99], True, "tie"),
        ([1.0, 1.1, 1.1, 1.1, 1.1], True, "tie"),
    ],
)
def test_rounds_that_disagree_are_a_tie(found: list[float], more_is_better: bool, expected: str) -> None:
    said = verdict(found, more_is_better)
    assert said == expected
    assert kept(said) is (expected == "ahead")


def test_few_rounds_decide_nothing() -> None:
    said = verdict([2.0, 2.0, 2.0, 2.0])
    assert said == "undecided: 4 of at least 5 rounds"
    assert kept(said) is None


def test_ratios_are_of_rounds_that_both_have() -> None:
    assert ratios({0: 10.0, 1: 20.0, 2: 30.0}, {2: 10.0, 0: 5.0, 3: 1.0}) == [2.0, 3.0]


def test_a_spread_names_the_median_and_both_ends() -> None:
    assert spread([3.0, 1.0, 2.0]).text(1) == "2.0 (1.0–3.0)"  # noqa: RUF001


def test_percentiles_are_latencies_that_were_measured() -> None:
    seconds = [number / 1000 for number in range(1, 201)]
    assert percentile(seconds, 50) == pytest.approx(100)
    assert percentile(seconds, 99) == pytest.approx(198)
    assert percentile([0.004], 99) == pytest.approx(4)
    with pytest.raises(ValueError, match="no request was answered"):
        percentile([], 99)
