"""Every server of a new version is asked about the golden pictures before any client gets to it."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from embedded_server import MODEL, ModelServer
from processes import free_port
from rollout_versions import Network, client_of, publish, serving

from vitrine_client import RestClient
from vitrine_serving.rollout.errors import NotAnswered
from vitrine_serving.rollout.judging.golden import check_golden
from vitrine_serving.rollout.version_store import Candidate, read_version

# The manifest of version 2 promises what version 1 answers, as for a version that was damaged on its way.
GOOD, WRONG, FAILING = 1, 2, 3
TOLERANCE = 2e-5


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("models")
    publish(store, GOOD)
    publish(store, WRONG, Network((0.5, 0.0, 0.0)), described=Network())
    publish(store, FAILING, Network(fails_on="blue"))
    return store


@pytest.fixture(scope="module")
def servers(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, ModelServer]]:
    """By version."""
    logs = tmp_path_factory.mktemp("logs")
    with contextlib.ExitStack() as stack:
        yield {
            version: stack.enter_context(serving(store, version, logs / f"{version}.log"))
            for version in (GOOD, WRONG, FAILING)
        }


@pytest.fixture
def clients(servers: dict[int, ModelServer]) -> Iterator[dict[int, RestClient]]:
    with contextlib.ExitStack() as stack:
        yield {version: stack.enter_context(client_of(server, version)) for version, server in servers.items()}


def read(store: Path, version: int) -> Candidate:
    return read_version(str(store), MODEL, version)


def test_servers_that_answer_as_the_manifest_says_are_good(store: Path, clients: dict[int, RestClient]) -> None:
    finding = check_golden([clients[GOOD], clients[GOOD]], read(store, GOOD), TOLERANCE)
    assert finding.ok, finding.told
    assert finding.told == "golden pictures: 4 pictures on 2 servers answered as the manifest says"


def test_the_answer_that_is_off_most_is_told(store: Path, clients: dict[int, RestClient]) -> None:
    candidate = read(store, WRONG)
    finding = check_golden([clients[WRONG]], candidate, TOLERANCE)
    assert not finding.ok
    # Preferences matter most where the picture says least: the grey one.
    grey = candidate.golden[3]
    assert f"{grey.name}, label 'red': " in finding.told
    assert f"where {grey.probabilities[0]:.6f} belongs" in finding.told
    assert "4 of 4 pictures on 1 server answered otherwise" in finding.told


def test_one_wrong_server_among_good_ones_is_found(
    store: Path, servers: dict[int, ModelServer], clients: dict[int, RestClient], tmp_path: Path
) -> None:
    # It has other files below the same version number: a copy that was damaged on one machine.
    damaged = tmp_path / "damaged" / MODEL / str(GOOD)
    shutil.copytree(store / MODEL / str(WRONG), damaged)
    with serving(tmp_path / "damaged", GOOD, tmp_path / "log") as server, client_of(server, GOOD) as wrong:
        finding = check_golden([clients[GOOD], wrong], read(store, GOOD), TOLERANCE)
    assert not finding.ok
    assert f"at {wrong!r}" in finding.told and servers[GOOD].url not in finding.told


def test_a_server_that_fails_is_told_with_its_own_words(store: Path, clients: dict[int, RestClient]) -> None:
    finding = check_golden([clients[GOOD], clients[FAILING]], read(store, FAILING), TOLERANCE)
    assert not finding.ok and "never_written" in finding.told


def test_a_server_that_does_not_answer_says_nothing_about_its_version(store: Path) -> None:
    nobody = RestClient(f"http://127.0.0.1:{free_port()}", model=MODEL, retries=0)
    with nobody, pytest.raises(NotAnswered, match="cannot be reached"):
        check_golden([nobody], read(store, GOOD), TOLERANCE)


def test_without_servers_nothing_is_proved(store: Path) -> None:
    with pytest.raises(NotAnswered, match="no server of version 1"):
        check_golden([], read(store, GOOD), TOLERANCE)


def test_without_golden_pictures_nothing_is_proved(tmp_path: Path, clients: dict[int, RestClient]) -> None:
    publish(tmp_path, GOOD, change=lambda manifest: manifest.update(golden=[]))
    finding = check_golden([clients[GOOD]], read(tmp_path, GOOD), TOLERANCE)
    assert not finding.ok and "has none" in finding.told
