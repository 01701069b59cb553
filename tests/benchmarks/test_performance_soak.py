"""When a soak says that a server leaks, and a short one against a real server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.performance import soak
from benchmarks.performance.section import Bench, NotHere


def samples(minutes: float, megabytes: Callable[[float], float], threads: Callable[[float], int] = lambda at: 40):
    count = round(minutes * 6)
    return [
        soak.Sample(at * 10.0, megabytes(at * 10.0), megabytes(at * 10.0) - 100, threads(at * 10.0), 60, at * 1000, 0)
        for at in range(count + 1)
    ]


def test_the_slope_is_that_of_most_points_whatever_the_peaks():
    times = [float(second) for second in range(100)]
    values = [500 + 0.25 * second + (400 if second % 10 == 0 else 0) for second in times]

    assert soak.theil_sen(times, values) == pytest.approx(0.25, abs=0.02)
    assert soak.theil_sen([1.0], [5.0]) == 0.0


def test_a_server_that_fills_its_caches_at_first_is_flat():
    memory, threads, files, errors = soak.targets(samples(30, lambda at: 600 + min(at, 300) / 5), [])

    assert (memory.kept, threads.kept, files.kept, errors.kept) == (True, True, True, True)


def test_a_leak_of_two_megabytes_a_minute_is_told_from_peaks():
    def leaking(at: float) -> float:
        return 600 + at / 30 + (150 if at % 300 < 20 else 0)

    memory, *_ = soak.targets(samples(30, leaking), [])

    assert memory.kept is False
    assert "+20" in memory.measured


def test_a_thread_that_each_swap_leaves_behind_is_found():
    _, threads, *_ = soak.targets(samples(30, lambda at: 600.0, lambda at: 40 + min(10, int(at // 60))), [])

    assert threads.kept is False


def test_a_few_minutes_say_nothing_of_memory_and_all_of_errors():
    memory, threads, files, errors = soak.targets(samples(2, lambda at: 600 + at), ["HTTP 500"])

    assert (memory.kept, threads.kept, files.kept) == (None, None, None)
    assert errors.kept is False
    assert "HTTP 500" in errors.measured


def test_windows_share_out_every_request():
    taken = samples(12, lambda at: 600.0)
    latencies = [0.010] * taken[-1].answered

    rows = soak.windows(taken, latencies, 300)

    assert [row[0] for row in rows] == ["0.0 to 5.0", "5.0 to 10.0", "10.0 to 12.0"]
    assert {(row[1], row[2]) for row in rows} == {("100", "10")}


def test_a_soak_is_run_when_it_is_asked_for(tmp_path: Path):
    with pytest.raises(NotHere, match="--soak-minutes"):
        soak.run(Bench(data=None, work=tmp_path, rounds=1, seconds=1, cores=1))
