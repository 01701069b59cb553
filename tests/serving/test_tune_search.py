"""Which candidates there are, who gets through the rounds, and who wins, with simulated measurements."""

from __future__ import annotations

import random

import pytest

from vitrine_client.load import slo
from vitrine_serving.errors import CommandError
from vitrine_serving.tune.candidates import Batching, Candidate, Grid, Threads
from vitrine_serving.tune.choosing import Finalist, choose
from vitrine_serving.tune.halving import FINALISTS, halve, interleaved, rounds
from vitrine_serving.tune.search import Search
from vitrine_serving.tune.visits import Point, Visit

THREADS = Threads(1, 2)
PRESENT = Candidate("as exported", Batching(32, 0, 4, allowed_sizes=(1, 2, 4, 8, 16, 32)), THREADS)


def grid(**changes) -> Grid:
    values = {
        "where": ("in-graph", "server-side"),
        "batch_sizes": (1, 8),
        "timeouts": (0, 1000),
        "batch_threads": (2,),
        "threads": (THREADS,),
    }
    return Grid(**{**values, **changes})


def in_graph(number: int) -> Candidate:
    return Candidate("in-graph", Batching(number, 0, 2), THREADS)


def server_side(number: int) -> Candidate:
    return Candidate("server-side", Batching(number, 0, 2), THREADS)


def test_batches_of_one_row_wait_for_nobody_and_no_server_makes_them() -> None:
    found = [(one.where, one.batching.batch_size, one.batching.timeout_micros) for one in grid().candidates(PRESENT)]
    assert found == [
        *(("in-graph", 1, 0), ("in-graph", 8, 0), ("in-graph", 8, 1000)),
        *(("server-side", 8, 0), ("server-side", 8, 1000)),
    ]


def test_what_is_there_already_is_no_candidate_and_with_other_threads_it_needs_no_export() -> None:
    other = Threads(2, 2)
    same = grid(where=("in-graph",), batch_sizes=(32,), timeouts=(0,), batch_threads=(4,), threads=(THREADS, other))
    assert same.candidates(PRESENT) == [Candidate("as exported", PRESENT.batching, other)]


def test_what_a_server_limits_by_default_is_tried_in_full() -> None:
    same = grid(where=("in-graph",), batch_sizes=(32,), timeouts=(0,), batch_threads=(4,), threads=(THREADS,))
    assert same.candidates(PRESENT, runs_as_exported=False) == [Candidate("in-graph", PRESENT.batching, THREADS)]


def test_a_graph_without_a_batch_has_candidates_on_the_server_alone() -> None:
    assert {one.where for one in grid().candidates(Candidate("as exported", None, THREADS))} == {"server-side"}


def test_halving_finds_the_best_with_noise_that_longer_measurements_lessen() -> None:
    noise = random.Random(3)
    truth = {in_graph(number): 100.0 + 10 * number for number in range(1, 17)}
    seconds_of = dict.fromkeys(truth, 0)

    def measure(candidate: Candidate, number: int, seconds: int) -> tuple[bool, float]:
        assert seconds == 2 ** (number - 1)
        seconds_of[candidate] += seconds
        return True, truth[candidate] + noise.gauss(0, 10) / seconds

    finalists = halve(list(truth), 1, measure)
    assert len(finalists) == FINALISTS
    assert in_graph(16) in finalists
    assert [count for count, _ in rounds(16, 1)] == [16, 8, 4]
    assert sum(seconds_of.values()) == sum(count * seconds for count, seconds in rounds(16, 1))


def test_who_fails_is_out_and_who_keeps_the_objective_goes_before_who_is_faster() -> None:
    def measure(candidate: Candidate, number: int, seconds: int) -> tuple[bool, float] | None:
        size = candidate.batching.batch_size
        if size == 6:
            return None
        return (True, 1.0 * size) if size < 4 else (False, -1.0 * size)

    assert halve([in_graph(size) for size in range(1, 7)], 1, measure) == [in_graph(3), in_graph(2), in_graph(1)]


def test_the_final_interleaves_its_repeats() -> None:
    assert [(repeat, name) for repeat, name in interleaved("ab", 3)] == [
        *((1, "a"), (1, "b"), (2, "b"), (2, "a"), (3, "a"), (3, "b")),
    ]


def test_what_is_better_in_every_repeat_wins() -> None:
    present, better = Finalist(PRESENT, (98, 100, 110)), Finalist(in_graph(8), (120, 130, 111))
    choice = choose(present, [better, Finalist(in_graph(1), (20, 30, 25))])
    assert choice.winner == better
    assert not choice.keeps_present
    assert choice.ratio == pytest.approx(1.2)


def test_within_the_spread_of_the_repeats_the_present_stays() -> None:
    present, lucky = Finalist(PRESENT, (98, 100, 112)), Finalist(in_graph(8), (120, 130, 111))
    choice = choose(present, [lucky])
    assert choice.keeps_present
    assert choice.ratio == 1


def test_at_equal_figures_the_server_does_not_batch() -> None:
    present = Finalist(PRESENT, (98, 100, 101))
    graph, server = Finalist(in_graph(8), (120, 130, 125)), Finalist(server_side(8), (129, 131, 130))
    assert choose(present, [server, graph]).winner == graph
    assert choose(present, [Finalist(server_side(8), (131, 133, 132)), graph]).winner.candidate == server_side(8)


def test_where_the_present_keeps_nothing_there_is_no_ratio_and_where_nobody_does_no_winner() -> None:
    missing = Finalist(PRESENT, (0, 0, 50))
    steady = Finalist(in_graph(8), (40, 45, 0))
    choice = choose(missing, [steady])
    assert choice.winner == steady
    assert choice.ratio is None
    assert choose(Finalist(PRESENT, (0, 0, 0)), [Finalist(in_graph(8), (0, 0, 1))]) is None


def point(concurrency: int, rps: float, p99: float, objective: str, errors: dict[str, int] | None = None) -> Point:
    objectives = slo.parse(objective)
    measured = [p99 / 1000 if one.metric == "p99" else 0.02 for one in objectives]
    result = {
        "seconds": 2.0,
        "all": {"requests_per_second": rps, "latency_ms": {"p99": p99}, "errors": errors or {}, "answered": 10},
        "slo": [
            {"text": one.text, "measured": value, "kept": one.kept(value)}
            for one, value in zip(objectives, measured, strict=True)
        ],
    }
    return Point.of(result, concurrency, objectives)


def test_a_visit_is_worth_its_answers_at_the_highest_concurrency_that_keeps_the_objective() -> None:
    points = (point(16, 900, 120, "p99<80ms"), point(4, 500, 70, "p99<80ms"), point(1, 200, 10, "p99<80ms"))
    assert Visit(PRESENT, "round 1", points).score == 500


def test_of_two_that_miss_the_objective_the_nearer_one_goes_first() -> None:
    near, far = (Visit(PRESENT, "round 1", (point(1, 9, p99, "p99<80ms"),)) for p99 in (90, 800))
    assert near.score == far.score == 0
    assert near.standing > far.standing


def test_a_failed_request_keeps_nothing_unless_an_objective_allows_some() -> None:
    assert not point(1, 9, 10, "p99<80ms", {"Overloaded": 1}).kept
    assert point(1, 9, 10, "p99<80ms,errors<5%", {"Overloaded": 1}).kept


class Benches:
    """In a bench's place: candidates answer 100 times their batch size, and one cannot be started.

    Attributes:
        interrupted_at: the visit, from 1, in which Ctrl-C is pressed.
    """

    concurrencies = (4, 1)

    def __init__(self, broken: Candidate | None = None, interrupted_at: int | None = None) -> None:
        self.broken = broken
        self.interrupted_at = interrupted_at
        self.visited = 0

    def visit(self, candidate: Candidate, stage: str, seconds: int, everywhere: bool) -> Visit:
        self.visited += 1
        if self.visited == self.interrupted_at:
            raise KeyboardInterrupt
        if candidate == self.broken:
            return Visit(candidate, stage, (), "the server ended with exit code 1 before it answered")
        rps = 100.0 * candidate.batching.batch_size
        return Visit(candidate, stage, tuple(point(number, rps, 5, "p99<80ms") for number in self.concurrencies))

    def seconds_of(self, seconds: float, everywhere: bool) -> float:
        return 10 + seconds * (2 if everywhere else 1)


def search(bench: Benches, present: Candidate, sizes: int, budget: float = 1e6) -> Search:
    return Search(bench, present, [in_graph(size) for size in range(2, 2 + sizes)], 2, budget, repeats=3)


def test_a_candidate_that_cannot_be_started_is_noted_and_dropped() -> None:
    done = search(Benches(broken=in_graph(9)), in_graph(1), 8)
    done.run()
    assert [one.candidate for one in done.finalists] == [in_graph(1), in_graph(8), in_graph(7), in_graph(6)]
    assert {visit.candidate for visit in done.visits if visit.failure} == {in_graph(9)}
    assert choose(done.finalists[0], done.finalists[1:]).winner == Finalist(in_graph(8), (800, 800, 800))


def test_where_the_present_cannot_be_started_nothing_else_is_tried() -> None:
    done = search(Benches(broken=in_graph(1)), in_graph(1), 8)
    with pytest.raises(CommandError, match="the present configuration cannot be measured: the server ended"):
        done.run()
    assert len(done.visits) == 1


def test_of_more_candidates_than_there_is_time_for_some_are_drawn() -> None:
    bench = Benches()
    done = search(bench, in_graph(1), 200, budget=600)
    done.run()
    drawn = {visit.candidate for visit in done.visits} - {in_graph(1)}
    assert 0 < len(drawn) == 200 - done.left_out < 50
    planned = sum(bench.seconds_of(point.seconds, False) for visit in done.visits for point in visit.points[:1])
    assert planned < 600


def test_an_interrupted_search_keeps_its_visits() -> None:
    done = search(Benches(interrupted_at=4), in_graph(1), 8)
    with pytest.raises(KeyboardInterrupt):
        done.run()
    assert [visit.stage for visit in done.visits] == ["present", "round 1", "round 1"]
    assert not done.finalists
