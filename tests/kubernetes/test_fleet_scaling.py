"""The repository's components autoscaling and load: locust's load brings servers, and its end takes them away."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from fleet import Fleet, kubectl
from manifests import CLIENT_IMAGE, SERVING_IMAGE, apply, rendered

# Of the 100m that a small server requests: two that have the constant load alone take half of that.
_TARGET_PERCENT = 150
_USERS = 4
_LOAD = "app.kubernetes.io/name=vitrine-load"


@pytest.fixture
def objects(fleet: Fleet, tmp_path: Path) -> list[dict[str, Any]]:
    """All objects of the fleet and both components."""
    images = {"vitrine-serving": SERVING_IMAGE, "vitrine-client": CLIENT_IMAGE}
    versions = kubectl(fleet.environment, "api-versions")
    return rendered(tmp_path, fleet.namespace, images, versions, ["autoscaling", "load"])


@pytest.fixture
def locust(fleet: Fleet, objects: list[dict[str, Any]]) -> Iterator[str]:
    """The address of locust's page; its two workers are there, and no run."""
    made = [one for one in objects if one["metadata"]["name"].startswith("vitrine-load")]
    for deployment in (one for one in made if one["kind"] == "Deployment"):
        [container] = deployment["spec"]["template"]["spec"]["containers"]
        container["resources"]["requests"] = {"cpu": "50m", "memory": "128Mi"}
        if deployment["metadata"]["name"] == "vitrine-load-workers":
            # Users ask as fast as they are answered, and would take the CPU that the servers and their clients need.
            container["resources"]["limits"]["cpu"] = "100m"
    apply(fleet, made)
    fleet.kubectl("rollout", "status", "deployment/vitrine-load", "--timeout=180s")
    with _forwarded(fleet, "service/vitrine-load", 8089) as page:
        fleet.wait_for(lambda: len(_statistics(page)["workers"]) == 2, "both workers are there")
        yield page
    fleet.kubectl("delete", "deployments,services,networkpolicies", f"--selector={_LOAD}")


@contextmanager
def _forwarded(fleet: Fleet, target: str, port: int) -> Iterator[str]:
    """By the way that the component tells of: the address on this machine."""
    command = ["kubectl", "--namespace", fleet.namespace, "port-forward", target, f":{port}"]
    with subprocess.Popen(command, env=fleet.environment, stdout=subprocess.PIPE, text=True) as forwarding:
        try:
            assert forwarding.stdout
            # Forwarding from 127.0.0.1:40123 -> 8089
            yield f"http://{forwarding.stdout.readline().split()[2]}"
        finally:
            forwarding.terminate()


@pytest.fixture
def autoscaled(fleet: Fleet, objects: list[dict[str, Any]], locust: str) -> Iterator[Fleet]:
    """Between two and three servers, as the autoscaler finds right; two again at the end."""
    [autoscaler] = [one for one in objects if one["kind"] == "HorizontalPodAutoscaler"]
    autoscaler["spec"]["maxReplicas"] = 3
    autoscaler["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] = _TARGET_PERCENT
    autoscaler["spec"]["behavior"]["scaleDown"]["stabilizationWindowSeconds"] = 10
    apply(fleet, [autoscaler])
    yield fleet
    fleet.kubectl("delete", "horizontalpodautoscaler", "vitrine-stable")
    fleet.kubectl("scale", "deployment/vitrine-stable", "--replicas=2")
    fleet.wait_for(lambda: fleet.at_rest("stable", 2), "two servers are left")


def test_the_load_of_locust_brings_a_server_and_its_end_takes_it_away_at_the_cost_of_no_request(
    autoscaled: Fleet, locust: str
) -> None:
    fleet = autoscaled
    fleet.wait_for(lambda: 0 < _utilization(fleet) < _TARGET_PERCENT and fleet.at_rest("stable", 2), "hardly any load")
    with fleet.without_failures("2 to 3 to 2 servers by the autoscaler"):
        run = {"user_count": _USERS, "spawn_rate": _USERS}
        assert requests.post(f"{locust}/swarm", data=run, timeout=30).json()["success"]
        fleet.wait_for(lambda: fleet.at_rest("stable", 3), "three servers are ready")
        seen = _statistics(locust)
        requests.post(f"{locust}/stop", timeout=30).raise_for_status()
        fleet.wait_for(lambda: fleet.at_rest("stable", 2), "two servers are left")
    answered = {row["method"]: row["num_requests"] for row in seen["stats"] if row["method"]}
    assert answered.keys() == {"gRPC", "REST"}
    assert min(answered.values()) > 0
    # Its clients never ask again.
    assert seen["errors"] == []


def _statistics(page: str) -> dict[str, Any]:
    statistics: dict[str, Any] = requests.get(f"{page}/stats/requests", timeout=30).json()
    return statistics


def _utilization(fleet: Fleet) -> int:
    """Percent of the requested CPU, as the autoscaler sees it; 0 where it has not seen any yet."""
    # The version that every cluster has.
    autoscaler = fleet.json("get", "horizontalpodautoscalers.v1.autoscaling", "vitrine-stable")
    return int(autoscaler["status"].get("currentCPUUtilizationPercentage", 0))
