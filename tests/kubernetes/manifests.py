"""What the tests apply: the repository's manifests with a small overlay, and the pods that belong to the tests."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from fleet import Fleet

from vitrine_client.load import samples

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
MANIFESTS = REPOSITORY / "k8s"
SERVING_IMAGE = os.environ.get("VITRINE_IMAGE", "vitrine-serving:test")
CLIENT_IMAGE = os.environ.get("VITRINE_CLIENT_IMAGE", "vitrine-client:test")
# Our own server, with version 1 of digits.
_OVERLAY = "overlays/dev"


def rendered(
    folder: Path, namespace: str, images: Mapping[str, str], api_versions: str, components: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """All objects of the fleet, for a cluster that serves `api_versions`; `folder` is for intermediate files.

    Args:
        images: full names by the names that the manifests have, without a tag.
        api_versions: what `kubectl api-versions` prints.
        components: further ones of the repository's, such as autoscaling.
    """
    shutil.copytree(MANIFESTS, folder / "k8s")
    shutil.copytree(HERE / "overlay", folder / "overlay")
    is_old = "policy/v1" not in api_versions.split()
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": namespace,
        "resources": [f"../k8s/{_OVERLAY}"],
        "components": [
            "../overlay/small",
            *(f"../k8s/components/{component}" for component in components),
            *(["../overlay/kubernetes-1.20"] if is_old else []),
        ],
        "images": [_image(name, full) for name, full in images.items()],
    }
    (folder / "fleet").mkdir()
    (folder / "fleet" / "kustomization.yaml").write_text(yaml.safe_dump(kustomization), encoding="utf-8")
    done = subprocess.run(["kubectl", "kustomize", folder / "fleet"], capture_output=True, text=True, check=True)
    return [found for found in yaml.safe_load_all(done.stdout) if found]


def _image(name: str, full: str) -> dict[str, str]:
    renamed, _, tag = full.rpartition(":")
    return {"name": name, "newName": renamed, "newTag": tag}


def apply(fleet: Fleet, objects: list[dict[str, Any]], *options: str) -> None:
    fleet.kubectl(
        "apply", "--filename=-", *options, stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    )


def fill_store(fleet: Fleet, folder: Path, image: str) -> None:
    """Put the models in `folder` on the fleet's volume, which must be claimed already, through a pod of its own."""
    claim = {"name": "models", "persistentVolumeClaim": {"claimName": f"{fleet.name}-models"}}
    seed = _pod("seed", image, ["sleep", "600"])
    seed["spec"]["volumes"] = [claim]
    seed["spec"]["containers"][0]["volumeMounts"] = [{"name": "models", "mountPath": "/models"}]
    apply(fleet, [seed])
    fleet.kubectl("wait", "pod/seed", "--for=condition=Ready", "--timeout=180s")
    for model in sorted(path.name for path in folder.iterdir()):
        # A server looks for folders with the model's name: it is there all at once.
        fleet.kubectl("cp", str(folder / model), f"seed:/models/.{model}")
        fleet.kubectl("exec", "seed", "--", "mv", f"/models/.{model}", f"/models/{model}")
    fleet.kubectl("delete", "pod", "seed", "--grace-period=0", "--force", "--wait=false")


def start_rollout_job(fleet: Fleet, folder: Path, image: str, version: int, options: Sequence[str]) -> None:
    """The repository's Job, with `options` added to its command; `folder` is for intermediate files."""
    job = folder / "rollout"
    shutil.copytree(MANIFESTS / "jobs" / "rollout", job)
    (job / "rollout.env").write_text(f"VERSION={version}\nVITRINE_PROMETHEUS=\n", encoding="utf-8")
    done = subprocess.run(["kubectl", "kustomize", job], capture_output=True, text=True, check=True)
    objects = [found for found in yaml.safe_load_all(done.stdout) if found]
    for found in objects:
        if found["kind"] == "Job":
            [container] = found["spec"]["template"]["spec"]["containers"]
            container["image"] = image
            container["args"] += options
    # A cluster before 1.25 does not know podFailurePolicy, and leaves it out.
    apply(fleet, objects, "--validate=false")


def start_load(fleet: Fleet, image: str, rate: float = 25.0) -> None:
    """Ask the fleet about the golden pictures of version 1 from now on, by all kinds of clients."""
    known = samples.read(samples.golden_folder(fleet.store, "digits", 1))
    answers = {Path(sample.path).name: sorted(sample.labels) for sample in known}
    files = [f"--from-file={sample.path}" for sample in known]
    fleet.kubectl(
        "create", "configmap", "load", *files, f"--from-file={HERE / 'constant_load.py'}",
        f"--from-literal=answers.json={json.dumps(answers)}",
    )  # fmt: skip
    arguments = ["/load", f"--namespace={fleet.namespace}", f"--service={fleet.name}", f"--rate={rate:g}"]
    load = _pod("load", image, ["python", "/load/constant_load.py", *arguments])
    load["spec"]["volumes"] = [{"name": "load", "configMap": {"name": "load"}}]
    container = load["spec"]["containers"][0]
    container["volumeMounts"] = [{"name": "load", "mountPath": "/load"}]
    container["readinessProbe"] = {"httpGet": {"path": "/", "port": 9000}, "periodSeconds": 1}
    apply(fleet, [load])
    fleet.kubectl("wait", "pod/load", "--for=condition=Ready", "--timeout=180s")


def _pod(name: str, image: str, command: list[str]) -> dict[str, Any]:
    container = {
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": command,
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        # A load that gets no processor measures nothing but itself.
        "resources": {"requests": {"cpu": "300m", "memory": "128Mi"}},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/name": name}},
        "spec": {
            "containers": [container],
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 10001,
                "runAsGroup": 10001,
                "fsGroup": 10001,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
        },
    }
