"""A trained model served, watched and loaded through the compose file as it is."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from processes import wait_until
from stack import REPOSITORY, Stack

from vitrine_client import GrpcClient, RestClient

SERVER = "serving-embedded"
OURS = (SERVER, "ui", "prometheus", "blackbox", "load", "load-workers")


@pytest.fixture(scope="module")
def served(stack: Stack, trained: str) -> Stack:
    """The embedded server, the monitoring and the load generator, all up."""
    stack.down()
    printed = stack.up("embedded monitoring load", "VERSION=1")
    for port in ("GRPC", "REST", "UI", "PROMETHEUS", "GRAFANA", "LOAD"):
        assert f"127.0.0.1:{stack.environment[port + '_PORT']}" in printed
    return stack


def golden(stack: Stack) -> list[Path]:
    return sorted((stack.models / "digits" / "1" / "assets.extra" / "golden").glob("*.png"))


def query(stack: Stack, expression: str) -> list[dict[str, str]]:
    answer = stack.get("PROMETHEUS", "/api/v1/query", params={"query": expression}).json()
    return [{**series["metric"], "value": series["value"][1]} for series in answer["data"]["result"]]


@pytest.mark.parametrize("transport", [GrpcClient, RestClient])
def test_a_client_gets_labels(served: Stack, transport: Callable[..., GrpcClient | RestClient]) -> None:
    port = served.environment["GRPC_PORT" if transport is GrpcClient else "REST_PORT"]
    with transport(f"127.0.0.1:{port}", model="digits") as client:
        answers = client.classify(golden(served))
        assert all(answer.label in "0123456789" for answer in answers)
        # Pinned, and called stable.
        assert client.classify([golden(served)[0]], label="stable")[0].label == answers[0].label


def test_the_client_image_asks_by_the_services_name(served: Stack) -> None:
    golden_folder = "/models/digits/1/assets.extra/golden"
    command = ["predict", "--grpc", "vitrine:8500", "--model", "digits", golden_folder]
    done = served.compose(
        "--profile", "load", "run", "--rm", "--no-deps", "--entrypoint", "vitrine-client", "load", *command
    )
    assert done.returncode == 0, done.stderr
    assert "000.png" in done.stdout


def test_the_page_lists_the_model_and_passes_questions_on(served: Stack) -> None:
    assert "<title>" in served.get("UI", "/").text
    assert served.get("UI", "/models.json").json() == {"models": ["digits"]}
    assert served.get("UI", "/v1/models/digits").json()["model_version_status"][0]["state"] == "AVAILABLE"
    assert served.get("UI", "/monitoring/prometheus/metrics").status_code == 404


def test_prometheus_scrapes_the_server_and_knows_that_the_version_is_available(served: Stack) -> None:
    wait_until(lambda: query(served, 'up{job="vitrine"} == 1'), "the server is scraped")
    [probe] = wait_until(lambda: query(served, 'probe_success{job="vitrine-probe"} == 1'), "the version is asked for")
    assert (probe["model_name"], probe["version"]) == ("digits", "1")
    rules = served.get("PROMETHEUS", "/api/v1/rules").json()["data"]["groups"]
    assert rules
    assert all(rule["health"] != "err" for group in rules for rule in group["rules"])


def test_locust_makes_load_without_failures_that_prometheus_sees(served: Stack) -> None:
    page = f"http://127.0.0.1:{served.environment['LOAD_PORT']}"

    def statistics() -> dict:
        return requests.get(f"{page}/stats/requests", timeout=30).json()

    wait_until(lambda: len(statistics()["workers"]) == 2, "both workers are there")
    requests.post(f"{page}/swarm", data={"user_count": 4, "spawn_rate": 4}, timeout=30).raise_for_status()
    seen = wait_until(lambda: statistics()["total_rps"] and statistics(), "requests are answered")
    names = {
        row["method"] for row in wait_until(lambda: len(statistics()["stats"]) >= 3 and statistics(), "both")["stats"]
    }
    assert {"gRPC", "REST"} <= names
    wait_until(
        lambda: query(served, "sum(rate(:tensorflow:serving:request_count[30s])) > 1"), "the load is in Prometheus"
    )
    requests.post(f"{page}/stop", timeout=30).raise_for_status()
    assert (seen["fail_ratio"], statistics()["errors"]) == (0, [])
    wait_until(
        lambda: "report.html" in served.execute("load", "sh", "-c", "ls /measured/*").stdout, "the run has a report"
    )


@pytest.mark.parametrize(("objectives", "code"), [("errors<=0%,rps>1", 0), ("rps>100000", 1)])
def test_a_load_tests_objectives_decide_its_exit_code(served: Stack, objectives: str, code: int) -> None:
    done = served.compose(
        *("--profile", "load-test", "run", "--rm", "--no-deps", "load-test"),
        *("--headless", "-u", "2", "-r", "2", "-t", "3s", "--slo", objectives),
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "report: /measured/report.html" in done.stdout + done.stderr


@pytest.mark.parametrize("service", OURS)
def test_a_container_cannot_write_outside_its_volumes_nor_gain_rights(served: Stack, service: str) -> None:
    inspected = served.container(service)
    assert served.execute(service, "id", "-u").stdout.strip() not in ("", "0")
    for path in ("/here", "/usr/bin/here", "/etc/here"):
        assert "Read-only file system" in served.execute(service, "sh", "-c", f"echo > {path}").stderr
    status = served.execute(service, "cat", "/proc/self/status").stdout
    assert "CapEff:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status
    assert inspected["HostConfig"]["Privileged"] is False
    assert inspected["HostConfig"]["Memory"] > 0


def test_configuration_and_models_cannot_be_written_by_the_server(served: Stack) -> None:
    for path in ("/etc/vitrine/models.config", "/models/digits/9", "/usr/local/bin/vitrine-healthcheck"):
        assert "Read-only file system" in served.execute(SERVER, "sh", "-c", f"echo > {path}").stderr


def test_a_container_over_its_memory_limit_is_ended(served: Stack) -> None:
    allocate = ["--entrypoint", "python", "config", "-c", "bytearray(1 << 29)"]
    assert served.compose("run", "--rm", "--no-deps", *allocate).returncode == 137


def test_a_server_that_hangs_becomes_unhealthy_and_is_started_anew(served: Stack) -> None:
    assert served.container(SERVER)["State"]["Health"]["Status"] == "healthy"
    stopped = served.execute(SERVER, "bash", "-c", "kill -STOP $(</proc/1/task/1/children)")
    assert stopped.returncode == 0, stopped.stderr

    def health() -> str:
        return served.container(SERVER)["State"]["Health"]["Status"]

    wait_until(lambda: health() == "unhealthy", "it is unhealthy")
    wait_until(lambda: served.container(SERVER)["RestartCount"] == 1, "it is started anew")
    wait_until(lambda: health() == "healthy", "it is healthy again")
    with GrpcClient(f"127.0.0.1:{served.environment['GRPC_PORT']}", model="digits") as client:
        assert client.classify([golden(served)[0]])


def test_only_one_server_at_a_time(served: Stack) -> None:
    done = served.make("up", "PROFILE=cpu")
    assert done.returncode != 0
    assert f"{SERVER} is up on these ports; `make down` first" in done.stderr
    assert served.container(SERVER)["State"]["Running"]


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        (["VERSION=99"], "has no version 99; complete versions there: 1"),
        (["VERSION=one"], "'one'"),
        (["MODEL=flowers"], "flowers"),
        (["MODELS=/nowhere/models"], "/nowhere/models: no such folder"),
    ],
)
def test_a_wrong_setting_stops_up_with_the_reason_and_leaves_the_server_alone(
    served: Stack, variables: list[str], reason: str
) -> None:
    before = served.container(SERVER)["State"]["StartedAt"]
    done = served.make("up", "PROFILE=embedded", *variables)
    assert done.returncode != 0
    assert reason in done.stderr
    assert "Traceback" not in done.stderr
    assert served.container(SERVER)["State"]["StartedAt"] == before


def test_compose_alone_tells_the_reason_too(served: Stack) -> None:
    environment = {**served.environment, "VERSION": "99"}
    command = ["docker", "compose", "--profile", "embedded", "up", "config", "--no-color", "--exit-code-from", "config"]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert "has no version 99" in done.stdout + done.stderr


def test_another_version_is_a_server_started_anew(served: Stack) -> None:
    served.publish_again(2)
    served.up("embedded", "VERSION=2")
    states = served.get("REST", "/v1/models/digits").json()["model_version_status"]
    assert [(state["version"], state["state"]) for state in states] == [("2", "AVAILABLE")]


def test_a_new_version_reaches_the_server_that_runs_and_goes_again(served: Stack) -> None:
    served.publish_again(3)
    started = served.container(SERVER)["State"]["StartedAt"]
    quick = "ARGS=--judge-seconds 2 --probe-interval 0.1 --least-requests 5"
    port = served.environment["GRPC_PORT"]
    with GrpcClient(f"127.0.0.1:{port}", model="digits", label="stable") as client:
        for target, version in (("rollout", 3), ("rollback", 2)):
            done = served.make(target, "VERSION=3", "PROFILE=embedded", quick if target == "rollout" else "ARGS=")
            assert done.returncode == 0, done.stdout + done.stderr
            assert client.metadata().version == version
            states = served.get("REST", "/v1/models/digits").json()["model_version_status"]
            assert [state["version"] for state in states if state["state"] == "AVAILABLE"] == [str(version)]
    assert served.container(SERVER)["State"]["StartedAt"] == started
    # It was taken back: nobody gets it because it happens to be the newest.
    refused = served.make("up", "PROFILE=embedded")
    assert refused.returncode != 0
    assert "was rolled back" in refused.stdout + refused.stderr


def test_data_survives_down_and_up(served: Stack) -> None:
    since = wait_until(lambda: query(served, "min_over_time(timestamp(up)[1h:5s])"), "Prometheus has data")
    oldest = min(float(series["value"]) for series in since)
    served.down()
    left = served.compose("ps", "--all", "--quiet").stdout
    assert left == ""
    # The other engine for CPUs, with the same flags, mounts and health check.
    if os.uname().machine == "x86_64":
        served.up("cpu monitoring", "VERSION=1")
    else:
        served.up("embedded monitoring", "VERSION=1")
    again = query(served, "min_over_time(timestamp(up)[1h:5s])")
    assert min(float(series["value"]) for series in again) == pytest.approx(oldest, abs=10)
    with GrpcClient(f"127.0.0.1:{served.environment['GRPC_PORT']}", model="digits") as client:
        assert client.classify([golden(served)[0]])
