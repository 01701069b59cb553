"""What happens to a fleet on an ordinary day, and that its clients do not notice."""

from __future__ import annotations

import subprocess

from fleet import Fleet


def test_from_nothing_two_servers_answer_with_the_pinned_version_by_every_kind_of_client(fleet: Fleet) -> None:
    with fleet.without_failures("an hour like any other") as counted:
        sent = fleet.traffic().sent
        fleet.wait_for(lambda: fleet.traffic().sent >= sent + 90, "three seconds of load")
    assert fleet.versions("stable") == ["1", "1"]
    assert all(counted.kinds.values()), counted


def test_a_pod_that_is_deleted_is_replaced_and_no_request_fails(fleet: Fleet) -> None:
    pod = fleet.ready_pods("stable")[0]
    with fleet.without_failures("a pod is deleted"):
        fleet.kubectl("delete", "pod", pod, "--wait=false")
        fleet.wait_for(lambda: fleet.at_rest("stable", 2), f"{pod} has ended, another is ready")
    assert pod not in fleet.ready_pods("stable")


def test_a_server_process_that_dies_is_started_anew_and_no_request_fails(fleet: Fleet) -> None:
    pod = fleet.ready_pods("stable")[0]
    restarts = _restarts(fleet, pod)
    with fleet.without_failures("a server is killed"):
        _kill_server(fleet, pod)
        fleet.wait_for(lambda: _restarts(fleet, pod) > restarts and fleet.at_rest("stable", 2), f"{pod} is up again")


def test_a_pod_whose_disk_is_full_is_evicted_and_no_request_fails(fleet: Fleet) -> None:
    pod = fleet.ready_pods("stable")[0]
    with fleet.without_failures("a disk is full"):
        # The overlay's limit is 32 MiB; the kubelet looks once a minute.
        fleet.kubectl(
            "exec", pod, "--container=serving", "--", "dd", "if=/dev/zero", "of=/tmp/full", "bs=1M", "count=64"
        )
        fleet.wait_for(lambda: fleet.json("get", "pod", pod)["status"].get("reason") == "Evicted", f"{pod} is evicted")
        fleet.wait_for(lambda: fleet.at_rest("stable", 2), "two servers are ready")


def test_more_servers_and_fewer_again_cost_no_request(fleet: Fleet) -> None:
    with fleet.without_failures("2 to 3 to 2 servers"):
        fleet.kubectl("scale", "deployment/vitrine-stable", "--replicas=3")
        fleet.wait_for(lambda: fleet.at_rest("stable", 3), "three servers are ready")
        fleet.kubectl("scale", "deployment/vitrine-stable", "--replicas=2")
        fleet.wait_for(lambda: fleet.at_rest("stable", 2), "two servers are left")


def test_a_node_that_is_drained_keeps_the_servers_that_must_stay(fleet: Fleet) -> None:
    node = fleet.pods("stable")[0]["spec"]["nodeName"]
    # Only ours: whatever else runs on the node is not the test's to evict.
    drain = ["drain", node, "--pod-selector=app.kubernetes.io/name=vitrine,vitrine.dev/track=stable"]
    with fleet.without_failures("the node is drained"):
        try:
            drained = subprocess.run(
                ["kubectl", "--namespace", fleet.namespace, *drain, "--timeout=8s", "--delete-emptydir-data"],
                env=fleet.environment,
                capture_output=True,
                text=True,
            )
            left = fleet.ready_pods("stable")
        finally:
            fleet.kubectl("uncordon", node)
        fleet.wait_for(lambda: fleet.at_rest("stable", 2), "two servers are ready again")
    # Where all servers are on this node, the drain must not get through.
    assert "disruption budget" in drained.stderr or drained.returncode == 0, drained
    assert left, "a server must stay"


def _restarts(fleet: Fleet, pod: str) -> int:
    return int(fleet.json("get", "pod", pod)["status"]["containerStatuses"][0]["restartCount"])


def _kill_server(fleet: Fleet, pod: str) -> None:
    """SIGKILL where the containers' engine is at hand; else two SIGTERM, the second of which ends it at once."""
    container = fleet.json("get", "pod", pod)["status"]["containerStatuses"][0]["containerID"]
    engine, _, number = container.partition("://")
    if engine == "docker" and "DOCKER_HOST" in fleet.environment:
        killed = subprocess.run(["docker", "kill", number], env=fleet.environment, capture_output=True)
        if killed.returncode == 0:
            return
    twice = "import os, signal, time; os.kill(1, signal.SIGTERM); time.sleep(0.1); os.kill(1, signal.SIGTERM)"
    fleet.kubectl("exec", pod, "--container=serving", "--", "python", "-c", twice)
