"""What is made of the costs of calls, and calls against a real server."""

from __future__ import annotations

import itertools
from contextlib import ExitStack
from pathlib import Path

import pytest

from benchmarks import client
from benchmarks.performance import client_cost
from benchmarks.performance.client_cost import Cost
from benchmarks.performance.section import Bench


def test_a_cost_is_a_row_and_a_target_where_it_has_one():
    kept = Cost("one JPEG", 0.5, 0.4, 1.1, 1.15)
    missed = Cost("import", 60, 50, 1.4, 1.3)
    without = Cost("REST", 3, 2, 1.5, None)
    assert kept.row() == ["one JPEG", "0.50", "0.40", "1.10", "1.15"]
    assert without.row() == ["REST", "3.00", "2.00", "1.50", "-"]
    assert [
        (target.wanted, target.measured, target.kept) for target in client_cost.targets([kept, missed, without])
    ] == [
        ("one JPEG: at most 1.15 times", "1.10 times", True),
        ("import: at most 1.30 times", "1.40 times", False),
    ]


def test_two_calls_take_turns_in_going_first(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(client_cost, "_THREADS", 1)
    asked: list[str] = []
    found = client_cost.rates((lambda: asked.append("ours"), lambda: asked.append("other")), rounds=2, seconds=0.01)
    assert [name for name, _ in itertools.groupby(asked)] == ["other", "ours", "other"]
    assert all(ours > 0 and other > 0 for ours, other in found)
    assert len(found) == 2


def test_a_call_that_fails_ends_the_measurement(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(client_cost, "_THREADS", 1)

    def fails() -> None:
        raise ConnectionError("gone away")

    with pytest.raises(RuntimeError, match="gone away"):
        client_cost.rates((fails, fails), rounds=1, seconds=0.01)


def test_our_client_and_the_stub_ask_the_same_of_a_real_server(tmp_path: Path):
    bench = Bench(data=None, work=tmp_path, rounds=1, seconds=0.2, cores=1)
    with client.wire_servers(("typed",)) as servers, ExitStack() as stack:
        against_stub, _ = client.picture_pairs(servers["typed"], stack)
        [prediction] = against_stub.ours()
        assert [(label, pytest.approx(score)) for label, score in prediction.top] == against_stub.other()
        ours, other, ratio = client.measured(against_stub, rounds=1, seconds=0.05)
        assert ratio == pytest.approx(ours / other)
        found = client_cost._throughput(servers["typed"], stack, bench)
    assert found["ratio"] == pytest.approx(found["ours"] / found["stub"])
