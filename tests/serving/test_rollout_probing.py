"""A rollout's own questions to the servers of both versions, which come and go meanwhile."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from embedded_server import MODEL, ModelServer
from hypothesis import given
from hypothesis import strategies as st
from processes import free_port
from rollout_versions import Network, client_of, picture, publish, random_picture, serving

from vitrine_client import Client, RestClient
from vitrine_client.errors import Unavailable
from vitrine_serving.errors import CommandError
from vitrine_serving.rollout.judging.probing import Prober, percentile, percentile_at_least
from vitrine_serving.rollout.judging.samples import sample_pictures
from vitrine_serving.rollout.target import Track
from vitrine_serving.rollout.version_store import read_version

STABLE, SLIGHTLY_OTHER, OPPOSITE, SLOW, FAILING = 1, 2, 3, 4, 5
DELAY = 0.3
PICTURES = [picture((200, 40, 30)), picture((20, 190, 60)), picture((10, 50, 220))]
Servers = dict[int, ModelServer]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("models")
    publish(store, STABLE)
    publish(store, SLIGHTLY_OTHER, Network((0.0001, 0.0, 0.0)))
    publish(store, OPPOSITE, Network((9.0, 0.0, 0.0)))
    publish(store, SLOW, Network(delay_seconds=DELAY))
    publish(store, FAILING, Network(fails_on="blue"))
    return store


@pytest.fixture(scope="module")
def servers(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """One of each version."""
    logs = tmp_path_factory.mktemp("logs")
    with contextlib.ExitStack() as stack:
        yield {
            version: stack.enter_context(serving(store, version, logs / f"{version}.log"))
            for version in (STABLE, SLIGHTLY_OTHER, OPPOSITE, SLOW, FAILING)
        }


class Fleet:
    """Which servers are listed for each track; a test changes them while it goes."""

    def __init__(self, stable: Sequence[Callable[[], Client]], canary: Sequence[Callable[[], Client]]) -> None:
        self.listed = {Track.STABLE: list(stable), Track.CANARY: list(canary)}
        self.opened: list[Client] = []

    def clients(self, track: Track) -> Sequence[Client]:
        made = [make() for make in self.listed[track]]
        self.opened += made
        return made


def at(servers: Servers, version: int) -> Callable[[], Client]:
    return lambda: client_of(servers[version], version)


def nobody() -> Callable[[], Client]:
    """A server that is gone: nothing listens at its port."""
    port = free_port()
    return lambda: RestClient(f"http://127.0.0.1:{port}", model=MODEL, version=STABLE, retries=0)


def asked(fleet: Fleet, rounds: int, pictures: Sequence[bytes] = PICTURES) -> Prober:
    with Prober(fleet.clients, pictures) as prober:
        for _ in range(rounds):
            prober.ask_round()
    return prober


def test_each_round_asks_every_server_of_both_tracks(servers: Servers) -> None:
    same = at(servers, STABLE)
    evidence = asked(Fleet([same, same, same], [same]), rounds=6).evidence()
    assert (evidence.source, evidence.stable.requests, evidence.canary.requests) == ("probing", 18, 6)
    assert (evidence.stable.errors, evidence.canary.errors) == (0, 0)
    assert (evidence.compared, evidence.disagreements) == (6, 0)
    assert evidence.stable.p50 and evidence.stable.p99 and evidence.stable.p50 <= evidence.stable.p99


def test_a_canary_that_sees_something_else_disagrees(servers: Servers) -> None:
    evidence = asked(Fleet([at(servers, STABLE)], [at(servers, OPPOSITE)]), rounds=6).evidence()
    # The red pictures are red to both.
    assert (evidence.compared, evidence.disagreements) == (6, 4)


def test_labels_that_are_as_good_as_equal_are_no_disagreement(servers: Servers) -> None:
    grey = picture((100, 100, 100))
    with client_of(servers[STABLE], STABLE) as one, client_of(servers[OPPOSITE], OPPOSITE) as other:
        [all_alike], [only_red] = one.classify([grey]), other.classify([grey])
    assert all_alike.score == pytest.approx(1 / 3) and only_red.score > 0.9
    evidence = asked(Fleet([at(servers, OPPOSITE)], [at(servers, STABLE)]), 2, [grey]).evidence()
    assert (evidence.compared, evidence.disagreements) == (2, 0)


def test_a_version_that_is_a_little_other_agrees_on_any_picture(servers: Servers) -> None:
    pictures = [random_picture(seed) for seed in range(20)]
    evidence = asked(Fleet([at(servers, STABLE)], [at(servers, SLIGHTLY_OTHER)]), 20, pictures).evidence()
    assert (evidence.compared, evidence.disagreements) == (20, 0)


def test_a_slow_canary_shows_in_its_latency_alone(servers: Servers) -> None:
    evidence = asked(Fleet([at(servers, STABLE)], [at(servers, SLOW)]), rounds=4).evidence()
    assert evidence.canary.p50 is not None and evidence.canary.p50 >= DELAY
    assert (evidence.canary.errors, evidence.disagreements) == (0, 0)


def test_failed_requests_count_for_their_track_and_are_not_compared(servers: Servers) -> None:
    prober = asked(Fleet([at(servers, STABLE)], [at(servers, FAILING)]), rounds=6)
    evidence = prober.evidence()
    assert (evidence.canary.requests, evidence.canary.errors) == (6, 2)
    assert (evidence.stable.requests, evidence.stable.errors) == (6, 0)
    assert (evidence.compared, evidence.disagreements) == (4, 0)
    assert prober.last_error.startswith("canary: ") and "never_written" in prober.last_error


def test_an_answer_that_comes_too_late_is_a_failure(servers: Servers) -> None:
    impatient = Fleet([at(servers, STABLE)], [lambda: client_of(servers[SLOW], SLOW, timeout=DELAY / 3)])
    evidence = asked(impatient, rounds=2).evidence()
    assert (evidence.canary.requests, evidence.canary.errors, evidence.canary.p50) == (2, 2, None)


@pytest.mark.parametrize("track", list(Track))
def test_a_server_that_was_taken_away_is_no_failure_of_its_track(servers: Servers, track: Track) -> None:
    same = at(servers, STABLE)
    fleet = Fleet([same], [same])
    fleet.listed[track] = [nobody()]

    def clients_of(listed: Track) -> Sequence[Client]:
        made = fleet.clients(listed)
        # From the second listing on, another server is there in its place.
        fleet.listed[listed] = [same]
        return made

    with Prober(clients_of, PICTURES) as prober:
        for _ in range(3):
            prober.ask_round()
    evidence = prober.evidence()
    assert (evidence.stable.requests, evidence.canary.requests) == (3, 3)
    assert (evidence.stable.errors, evidence.canary.errors) == (0, 0)


def test_a_lost_server_is_asked_no_more_once_it_is_no_longer_listed(
    servers: Servers, store: Path, tmp_path: Path
) -> None:
    same = at(servers, STABLE)
    with contextlib.ExitStack() as stack:
        leaving = stack.enter_context(serving(store, STABLE, tmp_path / "log"))
        fleet = Fleet([same], [lambda: client_of(leaving, STABLE), same])
        prober = stack.enter_context(Prober(fleet.clients, PICTURES))
        prober.ask_round()
        leaving.stop()
        fleet.listed[Track.CANARY] = [same]
        for _ in range(3):
            prober.ask_round()
    evidence = prober.evidence()
    assert evidence.canary.errors == 0
    assert evidence.canary.requests == 2 + 2 + 1 + 1


def test_a_server_that_is_listed_and_never_answers_is_a_failure_from_the_second_time(servers: Servers) -> None:
    same = at(servers, STABLE)
    evidence = asked(Fleet([same], [nobody(), same]), rounds=5).evidence()
    assert (evidence.canary.requests, evidence.canary.errors) == (10, 4)


def test_a_canary_of_which_no_server_answers_fails_at_once(servers: Servers) -> None:
    evidence = asked(Fleet([at(servers, STABLE)], [nobody()]), rounds=3).evidence()
    assert (evidence.canary.requests, evidence.canary.errors) == (3, 3)


def test_servers_that_come_later_are_asked_as_well(servers: Servers) -> None:
    same = at(servers, STABLE)
    fleet = Fleet([same], [])
    with Prober(fleet.clients, PICTURES, relist_seconds=0) as prober:
        prober.ask_round()
        assert prober.evidence().canary.requests == 0
        fleet.listed[Track.CANARY] = [same]
        prober.ask_round()
    assert prober.evidence().canary.requests == 1


def test_a_list_that_cannot_be_had_for_a_moment_does_not_end_the_questions(servers: Servers) -> None:
    same = at(servers, STABLE)
    fleet = Fleet([same], [same])
    away = False

    def clients_of(track: Track) -> Sequence[Client]:
        if away:
            raise Unavailable("the cluster's API does not answer")
        return fleet.clients(track)

    with Prober(clients_of, PICTURES, relist_seconds=0) as prober:
        prober.ask_round()
        away = True
        prober.ask_round()
    assert prober.evidence().canary.requests == 2
    with pytest.raises(Unavailable), Prober(clients_of, PICTURES) as unlucky:
        unlucky.ask_round()


def test_all_clients_are_closed_in_the_end(servers: Servers) -> None:
    fleet = Fleet([at(servers, STABLE)], [nobody(), at(servers, STABLE)])
    asked(fleet, rounds=3)
    assert len(fleet.opened) > 3
    for client in fleet.opened:
        with pytest.raises(RuntimeError, match="closed"):
            client.status()


def test_without_pictures_there_is_nothing_to_ask() -> None:
    with pytest.raises(CommandError, match="no pictures to ask about"):
        Prober(lambda track: [], [])


def test_the_pictures_are_the_golden_ones_and_those_of_a_folder(store: Path, tmp_path: Path) -> None:
    candidate = read_version(str(store), MODEL, STABLE)
    (tmp_path / "blue").mkdir()
    (tmp_path / "blue" / "one.png").write_bytes(PICTURES[2])
    assert sample_pictures(candidate, None) == [golden.content for golden in candidate.golden]
    assert sample_pictures(candidate, tmp_path) == [*sample_pictures(candidate, None), PICTURES[2]]
    (tmp_path / "blue" / "one.png").write_bytes(b"no picture")
    with pytest.raises(CommandError, match=r"one\.png"):
        sample_pictures(candidate, tmp_path)
    with pytest.raises(CommandError, match="no such folder"):
        sample_pictures(candidate, tmp_path / "nowhere")


@given(st.lists(st.floats(0, 100), min_size=1), st.integers(1, 100))
def test_a_percentile_is_the_smallest_value_that_enough_do_not_exceed(values: list[float], percent: int) -> None:
    found = percentile(values, percent)
    enough = math.ceil(len(values) * percent / 100)
    assert found in values
    assert sum(value <= found for value in values) >= enough
    assert sum(value < found for value in values) < enough


@pytest.mark.parametrize(
    ("count", "percent", "bound"),
    [(1, 99, 1), (50, 99, 48), (300, 99, 294), (1000, 99, 985), (50, 50, 19), (100_000, 50, 49_740)],
)
def test_a_percentile_is_surely_no_less_than_its_bound(count: int, percent: int, bound: int) -> None:
    # By hand: the smallest number above it whose binomial distribution function reaches 0.95.
    assert percentile_at_least(range(1, count + 1), percent) == bound


def test_one_slow_moment_is_no_percentile_of_few_and_many_are() -> None:
    assert percentile_at_least([0.01] * 49 + [9.0], 99) == 0.01
    assert percentile_at_least([0.01] * 47 + [9.0] * 3, 99) == 9.0
    assert percentile_at_least([], 99) is None
