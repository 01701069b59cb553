"""`vitrine-serving rollout` and its companions as a user runs them, on one server that clients ask all the time."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from callers import Caller
from embedded_server import MODEL, ModelServer
from processes import wait_until
from rollout_server import RolloutServer, available, listed
from rollout_versions import Network, picture, publish

from vitrine_client import GrpcClient

COMMAND = str(Path(sys.executable).with_name("vitrine-serving"))
RED = picture((200, 40, 30))
QUICK = ("--judge-seconds", "1", "--probe-interval", "0.05", "--least-requests", "3", "--ready-seconds", "60")
SAME, WRONG, OTHER_THAN_PROMISED, SLOW, UNBLESSED, BROKEN = 2, 3, 4, 5, 6, 7
PHASES = ["starting", "checking", "sharing", "promoting", "ending"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    wrong = Network(preferences=(-9.0, 0.0, 0.0))
    for version in (1, SAME):
        publish(folder, version)
    publish(folder, WRONG, wrong)
    publish(folder, OTHER_THAN_PROMISED, wrong, described=Network())
    publish(folder, SLOW, Network(delay_seconds=0.1))
    publish(folder, UNBLESSED, change=lambda manifest: manifest.update(blessing=None))
    (publish(folder, BROKEN) / "saved_model.pb").write_bytes(b"no model")
    return folder


@pytest.fixture(scope="module")
def started(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RolloutServer, ModelServer]]:
    serving = RolloutServer(store, tmp_path_factory.mktemp("serving"))
    with serving.running() as server:
        yield serving, server


@pytest.fixture
def serving(started: tuple[RolloutServer, ModelServer]) -> Iterator[RolloutServer]:
    """Version 1 is stable, and a client that asks for it by label is never refused and never told otherwise."""
    serving, server = started
    serving.reset(server)
    with (
        GrpcClient(f"127.0.0.1:{serving.ports[0]}", model=MODEL, label="stable", retries=0) as client,
        Caller(lambda: client.classify([RED])[0].label, threads=1) as clients,
    ):
        yield serving
    assert not clients.failures
    assert set(clients.answers) == {"red"}


def command(serving: RolloutServer, store: Path, *arguments: str) -> list[str]:
    grpc, rest = (f"127.0.0.1:{port}" for port in serving.ports)
    where = ["--config", str(serving.etc), "--grpc", grpc, "--rest", rest, "--models", str(store)]
    return [COMMAND, arguments[0], *where, *arguments[1:]]


def run(serving: RolloutServer, store: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(serving, store, *arguments), capture_output=True, text=True, check=False)


@contextlib.contextmanager
def at_phase(serving: RolloutServer, store: Path, phase: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A command that has just come to `phase`; killed at the end if it still runs."""
    process = subprocess.Popen(
        command(serving, store, *arguments), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    assert process.stderr is not None
    try:
        said = []
        for line in process.stderr:
            said.append(line)
            if line.startswith(f"phase: {phase}"):
                break
        else:
            pytest.fail(f"it never came to {phase}:\n{''.join(said)}")
        yield process
    finally:
        process.kill()
        process.stderr.close()
        process.wait()


def status(serving: RolloutServer, store: Path) -> dict:
    done = run(serving, store, "status", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_good_version_becomes_stable_and_the_old_one_goes(serving: RolloutServer, started, store: Path) -> None:
    done = run(serving, store, "rollout", str(SAME), *QUICK)
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^phase: (\S+)", done.stderr, re.MULTILINE) == [*PHASES, "promoted"]
    assert f"version {SAME} is stable" in done.stdout
    assert listed(serving) == ((SAME,), {"stable": SAME})
    wait_until(lambda: available(started[1]) == [SAME], "version 1 is dropped")
    again = run(serving, store, "rollout", str(SAME), *QUICK)
    assert (again.returncode, f"version {SAME} is stable" in again.stdout) == (0, True), "it is done, and stays done"


@pytest.mark.parametrize(
    ("version", "reason"),
    [
        (WRONG, "another best label than stable's"),
        (OTHER_THAN_PROMISED, "golden pictures: .* answered otherwise than the manifest says"),
        (SLOW, "p50 latency .* more than 1.5 times"),
        (BROKEN, "version 7|Can't parse|saved_model"),
    ],
    ids=["wrong", "other than promised", "slow", "fails to load"],
)
def test_a_bad_version_is_rolled_back_with_the_reason(
    serving: RolloutServer, started, store: Path, version: int, reason: str
) -> None:
    done = run(serving, store, "rollout", str(version), *QUICK)
    assert done.returncode == 1, done.stderr
    last = done.stderr.splitlines()[-1]
    assert f"version {version} was rolled back to 1: " in last
    assert re.search(reason, last)
    assert listed(serving) == ((1,), {"stable": 1})
    wait_until(lambda: available(started[1]) == [1], "version 1 alone")
    assert status(serving, store)["rollout"]["phase"] == "rolled-back"


@pytest.mark.parametrize(
    ("version", "reason"), [(UNBLESSED, "not blessed"), (99, "no such version"), (1, "stable already")]
)
def test_what_is_not_fit_is_refused_before_anything_changes(
    serving: RolloutServer, store: Path, version: int, reason: str
) -> None:
    before = (serving.etc / "models.config").read_bytes()
    done = run(serving, store, "rollout", str(version), *QUICK)
    assert done.returncode == 1
    assert reason in done.stderr
    assert "Traceback" not in done.stderr
    assert (serving.etc / "models.config").read_bytes() == before
    assert status(serving, store)["rollout"] is None


def test_an_unblessed_version_goes_on_by_force(serving: RolloutServer, store: Path) -> None:
    done = run(serving, store, "rollout", str(UNBLESSED), "--force", *QUICK)
    assert done.returncode == 0, done.stderr
    assert "not blessed" in done.stderr


def test_rollback_undoes_a_promotion_once(serving: RolloutServer, started, store: Path) -> None:
    assert run(serving, store, "rollout", str(SAME), *QUICK).returncode == 0
    done = run(serving, store, "rollback")
    assert done.returncode == 0, done.stderr
    assert "version 1 is stable again" in done.stdout
    assert listed(serving) == ((1,), {"stable": 1})
    twice = run(serving, store, "rollback")
    assert twice.returncode == 0
    assert "nothing is to be undone" in twice.stderr
    assert listed(serving) == ((1,), {"stable": 1})


def test_a_server_that_does_not_start_with_its_new_version_is_brought_back(store: Path, tmp_path: Path) -> None:
    serving = RolloutServer(store, tmp_path)
    with serving.running():
        assert run(serving, store, "rollout", str(SAME), *QUICK).returncode == 0
    # Nobody answers now.
    with at_phase(serving, store, "rolling-back", "rollback") as process:
        wait_until(lambda: listed(serving) == ((1,), {"stable": 1}), "the next start will be with version 1")
        with serving.running() as server:
            assert process.wait() == 0
            assert available(server) == [1]
    assert status(serving, store)["rollout"]["phase"] == "rolled-back"


def test_canary_waits_for_promote(serving: RolloutServer, store: Path) -> None:
    nothing = run(serving, store, "promote")
    assert (nothing.returncode, "no canary" in nothing.stderr) == (1, True)
    done = run(serving, store, "canary", str(SAME), *QUICK)
    assert done.returncode == 0, done.stderr
    seen = status(serving, store)
    assert [(track["track"], track["version"], track["health"]) for track in seen["tracks"]] == [
        ("stable", 1, "ok"),
        ("canary", SAME, "ok"),
    ]
    assert seen["rollout"]["phase"] == "waiting"
    refused = run(serving, store, "rollout", str(UNBLESSED), "--force", *QUICK)
    assert refused.returncode == 1
    assert f"a rollout of version {SAME}" in refused.stderr
    assert run(serving, store, "promote").returncode == 0
    assert listed(serving) == ((SAME,), {"stable": SAME})


def test_a_canary_can_be_taken_back(serving: RolloutServer, store: Path) -> None:
    assert run(serving, store, "canary", str(SAME), *QUICK).returncode == 0
    assert run(serving, store, "rollback").returncode == 0
    assert listed(serving) == ((1,), {"stable": 1})


def test_killed_at_every_phase_it_goes_on_from_there(serving: RolloutServer, store: Path) -> None:
    for phase in PHASES:
        with at_phase(serving, store, phase, "rollout", str(SAME), *QUICK) as process:
            process.kill()
        # What the last line said was written before it.
        assert status(serving, store)["rollout"]["phase"] in PHASES[PHASES.index(phase) :]
    done = run(serving, store, "rollout", str(SAME), *QUICK)
    assert done.returncode == 0, done.stderr
    assert listed(serving) == ((SAME,), {"stable": SAME})
    assert status(serving, store)["rollout"]["phase"] == "promoted"


def test_the_second_at_once_is_refused_and_told_who_is_at_work(serving: RolloutServer, store: Path) -> None:
    with at_phase(serving, store, "sharing", "rollout", str(SAME), *QUICK, "--judge-seconds", "600") as process:
        for arguments in (["rollout", str(SAME), *QUICK], ["rollback"]):
            second = run(serving, store, *arguments)
            assert second.returncode == 1
            assert f"rollout of version {SAME}" in second.stderr
            assert str(process.pid) in second.stderr
        assert str(process.pid) in status(serving, store)["holder"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_everything_as_it_is_and_says_so(
    serving: RolloutServer, store: Path, number: signal.Signals
) -> None:
    with at_phase(serving, store, "sharing", "rollout", str(SAME), *QUICK, "--judge-seconds", "600") as process:
        process.send_signal(number)
        assert process.stderr is not None
        said = process.stderr.read()
        assert process.wait() == 130
    assert "everything stays as it is" in said
    assert "Traceback" not in said
    seen = status(serving, store)
    assert (seen["rollout"]["phase"], seen["holder"]) == ("sharing", None)
    assert run(serving, store, "rollback").returncode == 0


def test_a_dry_run_prints_the_difference_and_changes_nothing(serving: RolloutServer, store: Path) -> None:
    before = {path.name: path.read_bytes() for path in serving.etc.iterdir() if path.is_file()}
    done = run(serving, store, "rollout", str(SAME), "--dry-run", *QUICK)
    assert done.returncode == 0, done.stderr
    assert re.search(rf"^\+.*versions: {SAME}$", done.stdout, re.MULTILINE)
    assert re.search(r"^-.*versions: 1$", done.stdout, re.MULTILINE)
    assert {path.name: path.read_bytes() for path in serving.etc.iterdir() if path.is_file()} == before


def test_it_warns_that_unlabelled_requests_go_to_the_canary(serving: RolloutServer, store: Path) -> None:
    done = run(serving, store, "canary", str(SAME), *QUICK)
    assert "beware" in done.stderr
    assert "COMPOSE_PROJECT_NAME" in done.stderr
    assert run(serving, store, "rollback").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["rollout"], "VERSION"),
        (["rollout", "seven"], "'seven' is not a version"),
        (["rollout", "2", "--steps", "50,5"], "rise"),
        (["rollout", "2", "--steps", "0"], "begin at 1"),
        (["rollout", "2", "--judge-seconds", "nan"], "not a number"),
        (["rollout", "2", "--prometheus", "localhost:9090"], "http://"),
    ],
)
def test_wrong_usage_is_told_with_the_way_out(arguments: list[str], reason: str) -> None:
    done = subprocess.run([COMMAND, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert reason in done.stderr


def test_without_a_cluster_it_says_what_it_looked_for(tmp_path: Path) -> None:
    environment = {**os.environ, "KUBECONFIG": str(tmp_path / "none")}
    done = subprocess.run([COMMAND, "status"], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 1
    assert "kubeconfig" in done.stderr
    assert "--config" in done.stderr or "KUBECONFIG" in done.stderr
    assert "Traceback" not in done.stderr
