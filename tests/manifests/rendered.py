"""The manifests as a cluster gets them: every overlay, every component on the base, every Job."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from vitrine_serving.config.folder import ServingConfig, write_config
from vitrine_serving.config.models import PinnedModel

REPOSITORY = Path(__file__).parents[2]
K8S = REPOSITORY / "k8s"
OVERLAYS = sorted(path.name for path in (K8S / "overlays").iterdir())
COMPONENTS = sorted(path.name for path in (K8S / "components").iterdir())
JOBS = sorted(path.name for path in (K8S / "jobs").iterdir())
MODEL, VERSION = "flowers.v2", 12
Object = dict[str, Any]


@functools.cache
def overlay(name: str) -> list[Object]:
    return kustomize(K8S / "overlays" / name)


@functools.cache
def job(name: str) -> list[Object]:
    return _kustomize_in_new_folder({"resources": [K8S / "jobs" / name]})


@functools.cache
def component(*names: str) -> list[Object]:
    """The components on the base, with MODEL pinned to VERSION, as an overlay of somebody's own."""
    used = [*(name for name in names if name != "pinned"), "pinned"]
    return _kustomize_in_new_folder(
        {"resources": [K8S / "base"], "components": [K8S / "components" / name for name in used]}, pinned=True
    )


@functools.cache
def everything() -> dict[str, list[Object]]:
    """All of it, by where it is from."""
    return {
        **{f"overlays/{name}": overlay(name) for name in OVERLAYS},
        **{f"components/{name}": component(name) for name in COMPONENTS},
        **{f"jobs/{name}": job(name) for name in JOBS},
    }


def kustomize(folder: Path) -> list[Object]:
    for command in (["kubectl", "kustomize"], ["kustomize", "build"]):
        if shutil.which(command[0]):
            done = subprocess.run([*command, folder], capture_output=True, text=True, timeout=120, check=False)
            assert done.returncode == 0, done.stderr
            return list(yaml.load_all(done.stdout, yaml.CSafeLoader))
    pytest.skip("needs kubectl or kustomize")


def find(objects: list[Object], kind: str, name: str) -> Object:
    [found] = [item for item in objects if item["kind"] == kind and item["metadata"]["name"] == name]
    return found


def of_kind(objects: list[Object], kind: str) -> list[Object]:
    return [item for item in objects if item["kind"] == kind]


def tracks(objects: list[Object]) -> list[Object]:
    """Both Deployments of servers."""
    return [find(objects, "Deployment", f"vitrine-{track}") for track in ("stable", "canary")]


def server(deployment: Object) -> Object:
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    return container


def pod_templates(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    """KIND/NAME and the template of whatever starts pods."""
    for item in objects:
        if item["kind"] in ("Deployment", "Job"):
            yield f"{item['kind']}/{item['metadata']['name']}", item["spec"]["template"]


def environment(container: Object) -> dict[str, str | None]:
    return {entry["name"]: entry.get("value") for entry in container.get("env", [])}


def _kustomize_in_new_folder(content: dict[str, list[Path]], pinned: bool = False) -> list[Object]:
    with tempfile.TemporaryDirectory() as folder:
        # kustomize takes relative paths alone, and follows links before it does.
        here = Path(folder).resolve()
        kustomization: Object = {
            "namespace": "vitrine",
            **{key: [os.path.relpath(path, here) for path in paths] for key, paths in content.items()},
        }
        if pinned:
            write_config(here / "config", ServingConfig((PinnedModel(MODEL, f"/models/{MODEL}", (VERSION,)),)))
            [theirs] = yaml.safe_load((K8S / "overlays/cpu/kustomization.yaml").read_text())["configMapGenerator"]
            kustomization["configMapGenerator"] = [theirs]
        (here / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
        return kustomize(here)
