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
