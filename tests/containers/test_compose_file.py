"""The compose file as compose itself understands it; nothing is started."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from stack import REPOSITORY

SERVERS = {"gpu": "serving", "cpu": "serving-cpu", "embedded": "serving-embedded"}
# What a user's shell may hold, and compose would take.
OURS = ("MODEL", "MODELS", "VERSION", "SERVING_CPUS", "SERVING_FLAGS", "GRPC_MAX_THREADS", "VITRINE_USER", "BIND")


def read(docker: dict[str, str], *profiles: str, **variables: str) -> dict[str, Any]:
    environment = {name: value for name, value in docker.items() if name not in OURS} | variables
    chosen = [word for profile in profiles for word in ("--profile", profile)]
    done = subprocess.run(
        ["docker", "compose", *chosen, "config", "--format", "json"],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["services"]


@pytest.mark.parametrize("profile", SERVERS)
def test_a_profile_has_one_server_on_the_ports(docker: dict[str, str], profile: str) -> None:
    services = read(docker, profile)
    assert set(services) == {"config", "ui", SERVERS[profile]}
    published = {(port["published"], port["target"]) for port in services[SERVERS[profile]]["ports"]}
    assert published == {("8500", 8500), ("8501", 8501)}


def test_nothing_said_is_the_gpu_server_watched(docker: dict[str, str]) -> None:
    without = {name: value for name, value in docker.items() if name != "COMPOSE_PROFILES"}
    services = read(without)
    assert {"serving", "prometheus", "grafana", "blackbox"} <= set(services)
    assert not {"serving-cpu", "serving-embedded", "load", "train"} & set(services)
    [device] = services["serving"]["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"], device["count"]) == ("nvidia", ["gpu"], 1)
    assert services["serving"]["environment"]["TF_FORCE_GPU_ALLOW_GROWTH"] == "true"


@pytest.mark.parametrize(("profile", "options"), [("gpu", ["--gpu"]), ("cpu", ["--cpus", "3"])])
def test_servers_are_started_with_the_flags_that_config_prints(
    docker: dict[str, str], profile: str, options: list[str]
) -> None:
    command = [Path(sys.executable).with_name("vitrine-serving"), "config", "flags", *options]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    service = read(docker, profile, SERVING_CPUS="3")[SERVERS[profile]]
    assert sorted(service["command"]) == sorted(printed)


def test_the_engines_for_cpus_get_the_same_flags_mounts_and_limits(docker: dict[str, str]) -> None:
    official, embedded = (read(docker, profile)[SERVERS[profile]] for profile in ("cpu", "embedded"))
    for key in ("command", "volumes", "deploy", "healthcheck", "ports", "user"):
        assert official[key] == embedded[key], key
    assert official["image"] == "tensorflow/serving:2.20.0"


def test_further_flags_come_at_the_end(docker: dict[str, str]) -> None:
    flags = "--enable_batching --batching_parameters_file=/etc/vitrine/batching.config"
    command = read(docker, "cpu", SERVING_FLAGS=flags)["serving-cpu"]["command"]
    assert command[-2:] == flags.split()


def test_no_service_may_gain_rights_or_write_where_it_should_not(docker: dict[str, str]) -> None:
    services = read(docker, "*")
    assert len(services) == 15
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert int(service["user"].partition(":")[0]) > 0, name
        assert not service.get("privileged"), name
        assert not service.get("cap_add"), name
        limits = service["deploy"]["resources"]["limits"]
        assert {"cpus", "memory", "pids"} <= set(limits), name
        for port in service.get("ports", ()):
            assert port["host_ip"] == "127.0.0.1", name
        # Those two write what the server is configured with.
        for volume in service["volumes"] if name not in ("config", "rollout") else ():
            configured = volume["target"].startswith(("/etc/", "/models", "/usr/", "/var/lib/vitrine", "/work/recipes"))
            assert not configured or volume["read_only"], (name, volume)


def test_without_a_model_store_compose_says_so(docker: dict[str, str], tmp_path: Path) -> None:
    """Docker would make the folder, as root's, and the server would wait for a model in it."""
    mounts = read(docker, "cpu", MODELS=str(tmp_path / "none"))["serving-cpu"]["volumes"]
    [models] = [mount for mount in mounts if mount["target"] == "/models"]
    assert models["bind"]["create_host_path"] is False
    assert not (tmp_path / "none").exists()
