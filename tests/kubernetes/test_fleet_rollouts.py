"""New versions reach a fleet under load, or do not, and no client notices either way."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fleet import Fleet
from manifests import CLIENT_IMAGE, start_rollout_job
from versions import BROKEN, GOOD, INCOMPATIBLE, MISMATCHED, NEXT, SLOW, UNBLESSED, WRONG

# Two cores serve, ask and judge: a version is slow if it is several times as slow as this noise.
_JUDGED = (
    "--steps=30", "--judge-seconds=10", "--probe-interval=0.2", "--least-requests=15", "--ready-seconds=120",
    "--latency-slack=0.15", "--max-p50-factor=1.2", "--max-p99-factor=10",
)  # fmt: skip
_PHASES = ["starting", "checking", "sharing", "promoting", "ending"]


def _status(fleet: Fleet) -> dict:
    return json.loads(fleet.rollout("status", "--json").stdout)


def _is_wholly(fleet: Fleet, version: int) -> bool:
    """Whether every server there is has the version, and clients may be sent to all of them."""
    service = fleet.json("get", "service", "vitrine")["spec"]["selector"]
    return fleet.versions("stable") == [str(version)] * 2 and not fleet.pods("canary") and list(service) == [
        "app.kubernetes.io/name"
    ]  # fmt: skip


def test_a_dry_run_prints_what_would_change_and_changes_nothing(fleet: Fleet) -> None:
    before = fleet.json("get", "deployments,configmaps,services")
    done = fleet.rollout("rollout", str(NEXT), "--dry-run", *_JUDGED)
    assert done.returncode == 0, done.stderr
    assert f"+        vitrine.dev/version: '{NEXT}'" in done.stdout
    assert f"-        vitrine.dev/version: '{GOOD}'" in done.stdout
    after = fleet.json("get", "deployments,configmaps,services")
    assert [found["spec"] for found in before["items"] if "spec" in found] == [
        found["spec"] for found in after["items"] if "spec" in found
    ]
    assert len(before["items"]) == len(after["items"])


@pytest.mark.parametrize(
    ("version", "reason"),
    [(UNBLESSED, "not blessed"), (INCOMPATIBLE, "features"), (99, "no such version"), (GOOD, "stable already")],
    ids=["unblessed", "incompatible", "missing", "stable already"],
)
def test_what_is_not_fit_is_refused_before_anything_starts(fleet: Fleet, version: int, reason: str) -> None:
    done = fleet.rollout("rollout", str(version), *_JUDGED)
    assert done.returncode == 1
    assert reason in done.stderr
    assert "Traceback" not in done.stderr
    assert _is_wholly(fleet, GOOD)


@pytest.mark.parametrize(
    ("version", "reason"),
    [
        (WRONG, "another best label than stable's"),
        (MISMATCHED, "golden pictures: "),
        (BROKEN, "version 4"),
        (SLOW, "p50 latency "),
    ],
    ids=["wrong", "other than promised", "fails to load", "slow"],
)
def test_a_bad_version_is_rolled_back_and_no_client_gets_a_wrong_answer(
    fleet: Fleet, version: int, reason: str
) -> None:
    with fleet.without_failures(f"version {version} is rolled back"):
        # The last one counts. Of the slow version the median is told apart from stable's whatever else the cores do.
        done = fleet.rollout("rollout", str(version), *_JUDGED, "--latency-slack=0.02")
    assert done.returncode == 1, done.stderr
    last = done.stderr.splitlines()[-1]
    assert f"version {version} was rolled back to {GOOD}: " in last
    assert reason in last
    assert _is_wholly(fleet, GOOD)
    assert _status(fleet)["rollout"]["phase"] == "rolled-back"


def test_a_rollout_that_is_killed_at_every_phase_goes_on_and_is_undone_by_one_command(fleet: Fleet) -> None:
    with fleet.without_failures("killed five times, promoted, rolled back"):
        for phase in _PHASES:
            started = fleet.start_rollout("rollout", str(NEXT), *_JUDGED)
            started.wait_for_phase(phase)
            if phase == "sharing":
                # While one is at work.
                second = fleet.rollout("rollout", str(NEXT), *_JUDGED)
                assert second.returncode == 1
                assert f"rollout of version {NEXT}" in second.stderr
                assert str(started.process.pid) in second.stderr
            started.kill()
            assert _status(fleet)["rollout"]["phase"] in _PHASES[_PHASES.index(phase) :]
        other = fleet.rollout("rollout", str(WRONG), *_JUDGED)
        assert (other.returncode, "is unfinished" in other.stderr) == (1, True), other.stderr
        done = fleet.rollout("rollout", str(NEXT), *_JUDGED)
        assert done.returncode == 0, done.stderr
        assert _is_wholly(fleet, NEXT)
        seen = _status(fleet)
        assert [(track["version"], track["health"]) for track in seen["tracks"]] == [(NEXT, "ok"), (None, "none")]
        done = fleet.rollout("rollback")
        assert done.returncode == 0, done.stderr
        assert _is_wholly(fleet, GOOD)


def _other(fleet: Fleet) -> int:
    """The good version that is not stable."""
    return NEXT if fleet.versions("stable") == [str(GOOD)] * 2 else GOOD


def test_faults_during_a_rollout_cost_no_request_and_do_not_stop_it(fleet: Fleet) -> None:
    version = _other(fleet)
    with fleet.without_failures("a full disk, a server killed, a pod deleted during a rollout"):
        started = fleet.start_rollout("rollout", str(version), *_JUDGED, "--judge-seconds=40", "--max-p99-factor=1000")
        started.wait_for_phase("sharing")
        full, killed = fleet.ready_pods("stable")
        restarts = fleet.restarts(killed)
        # The overlay's limit is 32 MiB; the kubelet looks once a minute, and evicts.
        fleet.kubectl(
            "exec", full, "--container=serving", "--", "dd", "if=/dev/zero", "of=/tmp/full", "bs=1M", "count=64"
        )
        fleet.kill_server(killed)
        fleet.wait_for(
            lambda: fleet.restarts(killed) > restarts and fleet.at_rest("stable", 2), f"{killed} is up again"
        )
        [canary] = fleet.ready_pods("canary")
        fleet.kubectl("delete", "pod", canary, "--wait=false")
        fleet.wait_for(lambda: fleet.ready_pods("canary") not in ([], [canary]), f"another pod in place of {canary}")
        done = started.wait()
    assert done.returncode == 0, done.stderr
    assert _is_wholly(fleet, version)


def test_in_the_cluster_a_job_of_least_privilege_does_the_same(fleet: Fleet, tmp_path: Path) -> None:
    version = _other(fleet)
    with fleet.without_failures("a rollout from within the cluster"):
        start_rollout_job(fleet, tmp_path, CLIENT_IMAGE, version, _JUDGED)
        ended = fleet.wait_for(
            lambda: {"succeeded", "failed"} & fleet.json("get", "job", "vitrine-rollout")["status"].keys(), "it ends"
        )
    assert ended == {"succeeded"}, fleet.kubectl("logs", "job/vitrine-rollout")
    assert _is_wholly(fleet, version)
