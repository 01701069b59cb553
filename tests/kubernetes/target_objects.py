"""The objects that a rollout acts on, as small as they can be: a stand-in of forty lines serves in the place of
TensorFlow, so that pods are ready within seconds. What TensorFlow Serving itself does is tested elsewhere.
"""

from __future__ import annotations

import copy
import json
import subprocess
from pathlib import Path
from typing import Any

from vitrine_serving.config import PinnedModel, ServingConfig

GOOD, NEXT, CRASHING, UNLOADABLE = 1, 2, 13, 14
"""Versions: CRASHING ends its server, the stand-in says of UNLOADABLE that it could not be loaded."""
ERROR = "Check failed: variables.data-00000-of-00001: No such file or directory"

STAND_IN = f"""
import json, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
model, version = open("/etc/vitrine/pinned").read().split()
if version == "{CRASHING}":
    sys.exit("loading\\nF tensorflow: {ERROR}\\n")
path = f"/v1/models/{{model}}/versions/{{version}}"
loads = version != "{UNLOADABLE}"
class Server(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        error = {{"error_code": "OK", "error_message": ""}}
        if not loads:
            error = {{"error_code": "NOT_FOUND", "error_message": "{ERROR}"}}
        state = {{"version": version, "state": "AVAILABLE" if loads else "END", "status": error}}
        spec = {{"name": model, "signature_name": "", "version": version}}
        pages = {{path: {{"model_version_status": [state]}}}}
        if loads:
            signatures = {{"signature_def": {{"signature_def": {{}}}}}}
            pages[path + "/metadata"] = {{"model_spec": spec, "metadata": signatures}}
        page = pages.get(self.path)
        body = json.dumps(page or {{"error": "no such servable " + self.path}}).encode()
        self.send_response(200 if page else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *arguments):
        pass
ThreadingHTTPServer(("", 8501), Server).serve_forever()
"""


def container(version: int = GOOD) -> dict[str, Any]:
    probe = {"httpGet": {"path": f"/v1/models/digits/versions/{version}/metadata", "port": "rest"}, "periodSeconds": 1}
    return {
        "name": "serving",
        "image": "python:3.11-slim",
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "/stand-in/server.py"],
        "ports": [{"name": "rest", "containerPort": 8501}],
        "env": [{"name": "VITRINE_MODEL", "value": "digits"}, {"name": "VITRINE_VERSION", "value": str(version)}],
        "readinessProbe": probe,
        "resources": {"requests": {"cpu": "5m", "memory": "16Mi"}},
        "volumeMounts": [
            {"name": "config", "mountPath": "/etc/vitrine", "readOnly": True},
            {"name": "stand-in", "mountPath": "/stand-in", "readOnly": True},
        ],
    }


def template(track: str, version: int = GOOD, config: str = "vitrine-config-abc") -> dict[str, Any]:
    labels = {
        "app.kubernetes.io/name": "vitrine",
        "app.kubernetes.io/component": "serving",
        "vitrine.dev/track": track,
        "vitrine.dev/model": "digits",
        "vitrine.dev/version": str(version),
    }
    volumes = [
        {"name": "config", "configMap": {"name": config}},
        {"name": "stand-in", "configMap": {"name": "stand-in"}},
    ]
    spec = {"containers": [container(version)], "volumes": volumes, "terminationGracePeriodSeconds": 1}
    return {"metadata": {"labels": labels}, "spec": spec}


def config(version: int = GOOD) -> dict[str, Any]:
    pinned = PinnedModel("digits", "/models/digits", (version,), {"stable": version})
    data = {**ServingConfig((pinned,)).files(), "MODEL": "digits", "VERSION": str(version)}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "vitrine-config-abc"}, "data": data}


def objects(replicas: int) -> list[dict[str, Any]]:
    stand_in = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "stand-in"}}
    return [
        config(),
        {**stand_in, "data": {"server.py": STAND_IN}},
        _deployment("stable", replicas),
        _deployment("canary", 0),
        *(_service(name) for name in ("vitrine", "vitrine-headless", "vitrine-stable", "vitrine-canary")),
    ]


def route() -> dict[str, Any]:
    """Of a Gateway, as k8s/components/gateway has it when nothing is rolled out."""
    backends = [
        {"name": f"vitrine-{track}", "port": 8501, "weight": w} for track, w in (("stable", 100), ("canary", 0))
    ]
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "vitrine"},
        "spec": {"rules": [{"backendRefs": backends}]},
    }


class Namespace:
    """kubectl in one namespace."""

    def __init__(self, environment: dict[str, str], name: str) -> None:
        self.environment = environment
        self.name = name

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        command = ["kubectl", f"--namespace={self.name}", *arguments]
        done = subprocess.run(command, env=self.environment, input=stdin, capture_output=True, text=True)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout

    def kubeconfig_of(self, account: str, folder: Path) -> Path:
        """The same cluster and namespace, as a service account."""
        config = json.loads(self.kubectl("config", "view", "--raw", "--minify", "--flatten", "--output=json"))
        config["users"][0]["user"] = {"token": self.kubectl("create", "token", account).strip()}
        path = folder / f"kubeconfig-{account}"
        path.write_text(json.dumps(config))
        return path

    def apply(self, things: list[dict[str, Any]]) -> str:
        return self.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": things}))

    def get(self, kind: str, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.kubectl("get", kind, name, "--output=json"))
        return found

    def names(self, kind: str, selector: str = "") -> list[str]:
        return self.kubectl("get", kind, f"--selector={selector}", "--output=name").split()


def _deployment(track: str, replicas: int) -> dict[str, Any]:
    pods = copy.deepcopy(template(track))
    stays = ("app.kubernetes.io/name", "app.kubernetes.io/component", "vitrine.dev/track")
    selector = {key: pods["metadata"]["labels"][key] for key in stays}
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": f"vitrine-{track}", "labels": {"app.kubernetes.io/name": "vitrine"}},
        "spec": {"replicas": replicas, "selector": {"matchLabels": selector}, "strategy": strategy, "template": pods},
    }


def _service(name: str) -> dict[str, Any]:
    track = {"vitrine-stable": "stable", "vitrine-canary": "canary"}.get(name)
    selector = {"app.kubernetes.io/name": "vitrine", **({"vitrine.dev/track": track} if track else {})}
    headless = {"clusterIP": "None"} if name == "vitrine-headless" else {}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": selector, "ports": [{"name": "rest", "port": 8501, "targetPort": "rest"}], **headless},
    }
