"""Rolling a version out in one server: loaded beside stable, reached by a label, promoted, taken back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from callers import Caller
from embedded_server import ModelServer
from rollout_server import THREE, TWO, RolloutServer, answer, available, listed
from rollout_steps import roll_back, roll_out, wait

from vitrine_serving.errors import CommandError
from vitrine_serving.rollout.one_server.target import OneServerTarget
from vitrine_serving.rollout.state import Phase, RolloutState
from vitrine_serving.rollout.target import Track


@pytest.fixture(scope="module")
def store(written_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Version 1 is half plus two, 2 half plus three; 3 and 4 cannot be loaded."""
    store = tmp_path_factory.mktemp("store")
    for version, model in enumerate(["plus_two", "plus_three", "plus_two", "plus_two"], 1):
        shutil.copytree(written_models / model, store / "model" / str(version))
        if version > 2:
            (store / "model" / str(version) / "saved_model.pb").write_bytes(b"no model")
    return store


@pytest.fixture(scope="module")
def started(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RolloutServer, ModelServer]]:
    serving = RolloutServer(store, tmp_path_factory.mktemp("serving"))
    with serving.running() as server:
        yield serving, server


@pytest.fixture
def serving(started: tuple[RolloutServer, ModelServer]) -> RolloutServer:
    """Version 1 alone."""
    serving, server = started
    serving.reset(server)
    return serving


@pytest.fixture
def server(serving: RolloutServer, started: tuple[RolloutServer, ModelServer]) -> ModelServer:
    return started[1]


@pytest.fixture
def unstarted(store: Path, tmp_path: Path) -> RolloutServer:
    return RolloutServer(store, tmp_path)


@pytest.fixture
def target(serving: RolloutServer) -> OneServerTarget:
    return serving.target()


def test_clients_of_stable_notice_nothing_but_another_version(serving, server, target) -> None:
    with Caller(lambda: answer(server), threads=2) as clients:
        roll_out(target, 2)
        assert (answer(server), available(server)) == (THREE, [2])
        roll_back(target, 1)
        assert (answer(server), available(server)) == (TWO, [1])
    assert not clients.failures
    assert set(clients.answers) == {TWO, THREE}


def test_a_canary_is_asked_by_its_label_and_stable_stays(serving, server, target) -> None:
    target.start_canary(2)
    assert wait(lambda: target.canary_health(2)).ready
    assert (answer(server), answer(server, "canary")) == (TWO, THREE)
    assert listed(serving) == ((1, 2), {"stable": 1, "canary": 2})
    for track, expected in ((Track.STABLE, TWO), (Track.CANARY, THREE)):
        [client] = target.clients(track)
        with client:
            assert client.predict({"x": [1.0]})["y"] == [expected]


def test_a_version_is_in_the_file_only_once_it_was_loaded(serving, target) -> None:
    """TensorFlow Serving may not start at all with a list that has a version in it that cannot be loaded."""
    target.start_canary(2)
    assert listed(serving) == ((1,), {"stable": 1})


def test_a_version_that_cannot_be_loaded_is_told_of_and_taken_back(serving, server, target) -> None:
    target.save(RolloutState(3, 1, Phase.STARTING))
    target.start_canary(3)
    health = wait(lambda: target.canary_health(3))
    assert health.failed
    assert "version 3 cannot be loaded" in health.told
    [_, canary] = target.status().tracks
    assert (canary.version, canary.ready, canary.health) == (3, 0, "failing")
    roll_back(target, 1)
    assert (answer(server), available(server), listed(serving)) == (TWO, [1], ((1,), {"stable": 1}))


def test_a_version_that_failed_once_and_was_mended_is_rolled_out(target, store) -> None:
    target.start_canary(4)
    assert wait(lambda: target.canary_health(4)).failed
    target.end_canary()
    assert wait(target.canary_ended).ready
    shutil.copy(store / "model" / "2" / "saved_model.pb", store / "model" / "4" / "saved_model.pb")
    target.start_canary(4)
    assert wait(lambda: target.canary_health(4)).ready


def test_the_server_is_started_anew_during_a_rollout(unstarted) -> None:
    serving, target = unstarted, unstarted.target()
    with serving.running():
        target.start_canary(2)
        assert wait(lambda: target.canary_health(2)).ready
    with serving.running() as server:
        server.wait_for(1, "AVAILABLE")
        assert answer(server) == TWO
        target.begin_promotion(2, 1)
        assert wait(lambda: target.promotion_health(2)).ready
    with serving.running() as server:
        server.wait_for(2, "AVAILABLE")
        assert answer(server) == THREE
        target.end_canary()
        assert wait(target.canary_ended).ready
        assert (answer(server), available(server)) == (THREE, [2])


def test_a_server_that_ends_while_it_loads_the_canary_comes_back_without(unstarted) -> None:
    serving, target = unstarted, unstarted.target()
    with serving.running():
        target.start_canary(2)
        # Once it was seen; the file has it only after that.
        assert wait(lambda: target._loaded(2, target._versions().get(2))).ready
    assert not target.canary_health(2).failed
    with serving.running() as server:
        health = wait(lambda: target.canary_health(2))
        assert health.failed
        assert "no longer knows version 2" in health.told
        assert (answer(server), available(server)) == (TWO, [1])


def test_what_else_reads_the_folder_agrees(serving, target) -> None:
    others = {name: (serving.etc / name).read_bytes() for name in ("batching.config", "monitoring.config")}
    target.start_canary(2)
    wait(lambda: target.canary_health(2))
    # What has to be there, or the server is killed by its health check: not the canary.
    assert (serving.etc / "pinned").read_text() == "model 1\n"
    url = "http://digits.example:8501/v1/models/model/versions"
    probes = json.loads((serving.etc / "probes.json").read_text())
    assert [probe["targets"] for probe in probes] == [[f"{url}/1"], [f"{url}/2"]]
    target.begin_promotion(2, 1)
    wait(lambda: target.promotion_health(2))
    target.end_canary()
    wait(target.canary_ended)
    assert (serving.etc / "pinned").read_text() == "model 2\n"
    probes = json.loads((serving.etc / "probes.json").read_text())
    assert [probe["targets"] for probe in probes] == [[f"{url}/2"]]
    assert others == {name: (serving.etc / name).read_bytes() for name in others}
    assert not [path.name for path in serving.etc.iterdir() if path.name.endswith(".new")]


def test_what_a_rollout_would_change_is_what_it_changes(serving, target) -> None:
    changes = target.rollout_changes(2)
    assert [change.name for change in changes] == ["models.config", "pinned", "pinned.env", "probes.json"]
    before = {change.name: (serving.etc / change.name).read_text() for change in changes}
    assert before == {change.name: change.before for change in changes}
    roll_out(target, 2)
    assert {name: (serving.etc / name).read_text() for name in before} == {
        change.name: change.after for change in changes
    }


def test_status_names_both_versions_the_rollout_and_who_is_at_work(serving, target) -> None:
    target.save(RolloutState(2, 1, Phase.STARTING, by="ann@desk"))
    with target.held("ann@desk"):
        target.start_canary(2)
        wait(lambda: target.canary_health(2))
        status = serving.target().status()
        assert [(track.version, track.ready, track.health) for track in status.tracks] == [(1, 1, "ok"), (2, 1, "ok")]
        assert status.rollout is not None
        assert (status.model, status.rollout.by) == ("model", "ann@desk")
        assert status.holder is not None
        assert status.holder.startswith("ann@desk, since 20")
    assert target.status().holder is None


def test_the_version_before_is_remembered_by_a_promotion_and_forgotten_by_its_undoing(target) -> None:
    assert target.previous_version() is None
    roll_out(target, 2)
    assert target.previous_version() == 1
    roll_back(target, 1)
    assert target.previous_version() is None


def test_a_server_that_does_not_serve_the_folder_keeps_its_models(serving, server, target) -> None:
    """A wrong address would have another server unload all it has."""
    models = serving.etc / "models.config"
    models.write_text(models.read_text().replace("versions: 1", "versions: 7").replace("value: 1", "value: 7"))
    with pytest.raises(CommandError, match=r"knows versions .*1 of model, not 7.*address"):
        target.start_canary(2)
    assert available(server) == [1]


def test_clients_that_name_no_version_are_warned_of(target) -> None:
    [warning] = target.warnings(2)
    assert "neither a version nor a label" in warning
    assert "COMPOSE_PROJECT_NAME=vitrine-canary MODEL=model VERSION=2" in warning
    roll_out(target, 2)
    assert target.warnings(1) == []


def test_status_says_that_the_server_is_not_there(unstarted) -> None:
    [stable, canary] = unstarted.target().status().tracks
    assert (stable.version, stable.ready, stable.health) == (1, 0, "failing")
    assert str(unstarted.ports[1]) in stable.told
    assert (canary.version, canary.health) == (None, "none")
