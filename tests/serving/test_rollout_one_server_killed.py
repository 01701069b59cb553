"""A rollout that is killed between any two changes of the folder: stable is served all the while, the next goes on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from callers import Caller
from embedded_server import ModelServer
from rollout_server import THREE, TWO, RolloutServer, answer, available, listed
from rollout_steps import in_a_process, roll_back, roll_out

from vitrine_serving.rollout.state import Phase, RolloutState

# Of files, by any of the moves: that many at least, and never so many.
LEAST_CHANGES, MOST_CHANGES = 20, 60
# Each of them takes a second and more; over the two tests and both moves, the steps make sure that most are seen.
STEP = 3
ONE_ALONE = TWO, [1], ((1,), {"stable": 1})
TWO_ALONE = THREE, [2], ((2,), {"stable": 2})


@pytest.fixture
def serving(written_models: Path, tmp_path: Path) -> RolloutServer:
    """Version 1, half plus two, is pinned; 2, half plus three, is in the store."""
    for version, model in enumerate(["plus_two", "plus_three"], 1):
        shutil.copytree(written_models / model, tmp_path / "model" / str(version))
    return RolloutServer(tmp_path, tmp_path)


@pytest.fixture
def server(serving: RolloutServer) -> Iterator[ModelServer]:
    with serving.running() as server:
        yield server


def served(serving: RolloutServer, server: ModelServer) -> tuple[float, list[int], tuple[tuple[int, ...], object]]:
    return answer(server), available(server), listed(serving)


def check_restartable(serving: RolloutServer) -> None:
    """A server that were started now would have stable, and its health check would be content."""
    versions, labels = listed(serving)
    assert labels["stable"] in versions
    pinned = (serving.etc / "pinned").read_text().split()
    assert int(pinned[1]) in versions


def test_a_killed_rollout_or_rollback_is_gone_on_with(serving, server) -> None:
    with Caller(lambda: answer(server), threads=1) as clients:
        for killed_at in range(1, MOST_CHANGES, STEP):
            ended = []
            for move, version, outcome in ((roll_out, 2, TWO_ALONE), (roll_back, 1, ONE_ALONE)):
                ended.append(in_a_process(move, serving.etc, serving.ports, version, killed_at))
                check_restartable(serving)
                assert ended[-1] or in_a_process(move, serving.etc, serving.ports, version)
                assert served(serving, server) == outcome, (move, killed_at)
            if all(ended):
                break
        assert all(ended)
        assert killed_at > LEAST_CHANGES
    assert not clients.failures


def test_a_killed_rollout_is_rolled_back(serving, server) -> None:
    # A file of rollouts is there from the start, so that there is something to go back from.
    serving.target().save(RolloutState(1, 1, Phase.PROMOTED))
    with Caller(lambda: answer(server), threads=1) as clients:
        for killed_at in range(2, MOST_CHANGES, STEP):
            if in_a_process(roll_out, serving.etc, serving.ports, 2, killed_at):
                break
            check_restartable(serving)
            assert in_a_process(roll_back, serving.etc, serving.ports, 1)
            assert served(serving, server) == ONE_ALONE, killed_at
        assert served(serving, server) == TWO_ALONE
        assert killed_at > LEAST_CHANGES
    assert not clients.failures
