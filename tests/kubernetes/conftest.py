"""A cluster, whichever there is, and a fleet on it that serves version 1 under a constant load."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from fleet import Fleet, kubectl
from manifests import CLIENT_IMAGE, REPOSITORY, SERVING_IMAGE, apply, fill_store, rendered, start_load
from processes import wait_until
from versions import write_versions

from vitrine_export.runs import Run

KIT = REPOSITORY.parent / "shared" / "k8s"
# Where the kit's engine lives.
LAB = Path(os.environ.get("VITRINE_LAB", "/var/tmp/vitrine-lab"))


@pytest.fixture(scope="session")
def cluster() -> Iterator[dict[str, str]]:
    """The environment in which kubectl has a cluster that can run our images.

    Where KUBECONFIG leads to one, that; it must have, or be able to pull, VITRINE_IMAGE and VITRINE_CLIENT_IMAGE.
    Else the kit's, with images built now.
    """
    if "KUBECONFIG" in os.environ and _answers(dict(os.environ)):
        yield dict(os.environ)
        return
    if not KIT.is_dir() or os.geteuid() != 0:
        pytest.skip("needs a KUBECONFIG whose cluster answers, or ../shared/k8s and root")
    was_up = (LAB / "run").is_dir()
    up = subprocess.run([KIT / "cluster-up"], stdout=subprocess.PIPE, text=True, check=True)
    lines = [line.removeprefix("export ") for line in up.stdout.splitlines()]
    environment = {**os.environ, **dict(line.split("=", 1) for line in lines)}
    for target, image in (("client", CLIENT_IMAGE), ("serving", SERVING_IMAGE)):
        build = ["docker", "build", "--quiet", "--file=Dockerfile.serving", f"--target={target}", f"--tag={image}", "."]
        subprocess.run(build, cwd=REPOSITORY, env=environment, check=True)
    yield environment
    if not was_up:
        subprocess.run([KIT / "engine-down"], check=True)


def _answers(environment: dict[str, str]) -> bool:
    command = ["kubectl", "get", "--raw", "/readyz", "--request-timeout=10s"]
    return subprocess.run(command, env=environment, capture_output=True).returncode == 0


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory, digits_run: Run, blessed_candidate: Path) -> Path:
    """A model store with all the versions that `versions` names. Read only."""
    return write_versions(tmp_path_factory.mktemp("versions"), digits_run, blessed_candidate)


@pytest.fixture(scope="session")
def namespace(cluster: dict[str, str]) -> Iterator[str]:
    """A namespace of this run's own; all that is in it goes with it."""
    name = f"vitrine-test-{uuid.uuid4().hex[:8]}"
    kubectl(cluster, "create", "namespace", name)
    # No pod can be made before its account is there.
    wait_until(lambda: kubectl(cluster, "--namespace", name, "get", "serviceaccounts", "--output=name"), "an account")
    yield name
    kubectl(cluster, "delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="session")
def fleet(
    cluster: dict[str, str], namespace: str, store: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fleet]:
    """Two servers with version 1, applied from nothing, and the load that asks them until the last test has ended.

    Every test finds two servers, and leaves two.
    """
    fleet = Fleet(cluster, namespace, store)
    images = {"vitrine-serving": SERVING_IMAGE, "vitrine-client": CLIENT_IMAGE}
    folder = tmp_path_factory.mktemp("manifests")
    objects = rendered(folder, namespace, images, kubectl(cluster, "api-versions"), ["rollout"])
    apply(fleet, [found for found in objects if found["kind"] == "PersistentVolumeClaim"])
    fill_store(fleet, store, CLIENT_IMAGE)
    apply(fleet, objects)
    fleet.kubectl("rollout", "status", "deployment/vitrine-stable", "--timeout=300s")
    start_load(fleet, CLIENT_IMAGE)
    yield fleet
    print(f"\nload at the end: {fleet.settled_traffic().kinds}")  # noqa: T201, for -s
