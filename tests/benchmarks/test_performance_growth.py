"""How growth is judged, and one small measurement of connections against a real server."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import models
from benchmarks.performance import connections, growth, judging
from benchmarks.performance.section import Bench
from benchmarks.processes import embedded_server


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_the_exponent_is_that_of_what_is_added_to_the_first_cost(power):
    sizes = [1, 5, 10, 20]
    costs = [300 + 50 * (size - 1) ** power for size in sizes]

    assert judging.exponent(sizes, costs) == pytest.approx(power)


def test_a_large_cost_at_any_size_does_not_hide_quadratic_growth():
    sizes = [1, 5, 10, 20, 40]

    assert judging.exponent(sizes, [300 + size**2 for size in sizes]) > 1.7


def test_a_cost_that_leaps_at_the_last_size_is_no_linear_growth():
    assert judging.exponent([1, 10, 100, 1000], [5.0, 5.1, 5.0, 500.0]) > 2


def test_what_varies_within_noise_has_no_exponent():
    assert judging.exponent([1, 10, 100, 1000], [5.0, 5.2, 4.9, 5.4]) is None


def test_the_worst_ratio_is_of_any_size_to_the_first_of_its_own_round():
    # The second round is twice as slow throughout, as on a machine that does something else for a while.
    rounds = [[1.0, 1.0, 1.3, 0.9], [2.0, 2.0, 2.6, 1.8], [1.0, 1.1, 1.2, 1.0]]

    assert judging.worst_ratio(rounds) == pytest.approx(1.3)


@pytest.mark.parametrize("size", [10_000, 300_000, 2_000_000])
def test_pictures_are_made_to_their_bytes(size):
    picture = models.photo_of_bytes(size)

    assert picture.startswith(b"\xff\xd8")
    assert len(picture) == pytest.approx(size, rel=0.1)


def test_every_request_of_slow_clients_is_counted_and_each_count_of_them_reported(tmp_path: Path):
    bench = Bench(data=None, work=tmp_path, rounds=1, seconds=0.5, cores=1)
    with embedded_server(connections.trivial_model(bench)) as server:
        parts = [growth.many_clients(bench, server, transport, (1, 40)) for transport in growth.TRANSPORTS]

    for part in parts:
        assert [row[0] for row in part.table.rows] == ["1", "40"]
        assert all(0 < cost < 1 for cost in part.figures["cpu_seconds"][0])
        [target] = part.targets
        assert "1 to 40 clients" in target.wanted
