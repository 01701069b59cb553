"""Whatever is wrong with the way to the cluster is told in one line, and an API server that is away for a moment is
waited for. A stand-in answers for it here, as no real one fails when it is told to.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from processes import free_port
from target_objects import Namespace, route, template

from vitrine_serving.errors import CommandError
from vitrine_serving.rollout.kubernetes.api import Api, Kind
from vitrine_serving.rollout.kubernetes.connection import connection
from vitrine_serving.rollout.kubernetes.naming import Names
from vitrine_serving.rollout.kubernetes.shares import Weights, present_weights, set_weights
from vitrine_serving.rollout.kubernetes.target import connect

RESET = 0
DEPLOYMENT = {"metadata": {"name": "d", "resourceVersion": "1"}, "spec": {"template": template("stable")}}


class ApiServer(ThreadingHTTPServer):
    """Answers from a list of (status, JSON), and for good with the last; RESET hangs up. Keeps what it was sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[tuple[int, dict[str, Any]]] = []
        self.asked: list[tuple[str, str]] = []
        self.tokens: list[str | None] = []
        self.changes: list[dict[str, Any]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: ApiServer

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        server, sent = self.server, self.rfile.read(length)
        if sent:
            server.changes.append(json.loads(sent))
        server.asked.append((self.command, self.path))
        server.tokens.append(self.headers.get("Authorization"))
        status, body = server.answers.pop(0) if len(server.answers) > 1 else server.answers[0]
        self.close_connection = True
        if status == RESET:
            return
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_PATCH = do_POST = do_PUT = do_DELETE = do_GET

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}).start()
        yield server
        server.shutdown()


@pytest.fixture
def kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: ApiServer) -> Path:
    """Leads to the stand-in, as a user whose token a program makes, as those of clouds do."""
    program = tmp_path / "login.py"
    program.write_text(
        "import json\nprint(json.dumps({'apiVersion': 'client.authentication.k8s.io/v1', 'kind': 'ExecCredential',"
        " 'status': {'token': 'secret-of-alice'}}))\n"
    )
    login = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": sys.executable,
        "args": [str(program)],
        "interactiveMode": "Never",
    }
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "lab",
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "alice", "namespace": "shop"}}],
        "clusters": [{"name": "lab", "cluster": {"server": server.address}}],
        "users": [{"name": "alice", "user": {"exec": login}}],
    }
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(config))
    monkeypatch.setenv("KUBECONFIG", str(path))
    return path


def test_without_a_kubeconfig_its_place_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(CommandError, match=r"no kubeconfig at .*/none.*set KUBECONFIG"):
        connect(None, None)


def test_an_unknown_context_is_told_with_those_there_are(kubeconfig: Path):
    with pytest.raises(CommandError, match=r"context 'staging' is not in .*there are: lab"):
        connect("staging", None)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"contexts": []}', "\tx"])
def test_a_kubeconfig_that_cannot_be_read_is_told(kubeconfig: Path, text: str):
    kubeconfig.write_text(text)
    with pytest.raises(CommandError, match="kubeconfig"):
        connect(None, None)


def test_a_server_that_is_not_there_is_told_with_its_address(kubeconfig: Path, server: ApiServer):
    port = free_port()
    kubeconfig.write_text(kubeconfig.read_text().replace(server.address, f"http://127.0.0.1:{port}"))
    with pytest.raises(CommandError, match=f"API server http://127.0.0.1:{port} cannot be reached"):
        connect(None, None)


def test_the_namespace_and_the_credentials_are_the_kubeconfigs(kubeconfig: Path, server: ApiServer):
    server.answers = [(200, DEPLOYMENT)]
    assert connect(None, None).name == "lab/shop/vitrine"
    assert server.asked == [("GET", "/apis/apps/v1/namespaces/shop/deployments/vitrine-stable")]
    assert server.tokens == ["Bearer secret-of-alice"]


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (401, "get deployments vitrine-stable in namespace shop.*log in again"),
        (403, "get deployments vitrine-stable in namespace shop.*Role NAME-rollout of k8s/components/rollout"),
        (404, "no Deployment vitrine-stable in namespace shop of lab; apply the manifests"),
    ],
)
def test_a_refusal_says_what_was_asked_and_the_way_out(kubeconfig: Path, server: ApiServer, status: int, told: str):
    server.answers = [(status, {"message": "because"})]
    with pytest.raises(CommandError, match=told):
        connect(None, None)


def test_another_model_than_the_one_asked_for_is_refused(kubeconfig: Path, server: ApiServer):
    server.answers = [(200, DEPLOYMENT)]
    with pytest.raises(CommandError, match="serves model digits, not flowers"):
        connect(None, None, model="flowers")


def test_a_server_that_starts_anew_is_asked_again(kubeconfig: Path, server: ApiServer):
    server.answers = [(RESET, {}), (503, {}), (429, {}), (500, {}), (200, DEPLOYMENT)]
    assert Api(connection(None, None)).get(Kind.DEPLOYMENT, "d") == DEPLOYMENT
    assert len(server.asked) == 5


def test_a_change_that_another_came_before_is_made_of_the_object_as_it_is_now(kubeconfig: Path, server: ApiServer):
    changed = {**DEPLOYMENT, "spec": {"replicas": 4}}
    server.answers = [(200, DEPLOYMENT), (409, {"message": "modified"}), (200, changed), (200, changed)]
    seen = []

    def change(deployment: dict[str, Any]) -> None:
        seen.append(deployment["spec"].get("replicas"))
        deployment["spec"]["paused"] = True

    Api(connection(None, None)).modify(Kind.DEPLOYMENT, "d", change)
    assert seen == [None, 4]
    assert [verb for verb, _ in server.asked] == ["GET", "PATCH", "GET", "PATCH"]


def test_a_gateways_weights_are_moved_and_nothing_else_of_its_route(kubeconfig: Path, server: ApiServer):
    """Here, as custom resources end the API server of the clusters that these tests have."""
    there = {**route(), "metadata": {"name": "vitrine", "resourceVersion": "7"}}
    server.answers = [(200, there), (200, there), (200, there), (404, {"message": "no such kind"})]
    set_weights(Api(connection(None, None)), Names("vitrine"), Weights(70, 30))
    assert server.asked[-2][0] == "PATCH" and server.asked[-2][1].endswith("/shop/httproutes/vitrine")
    [change] = server.changes
    assert change["metadata"] == {"resourceVersion": "7"}
    [before], [after] = route()["spec"]["rules"], change["spec"]["rules"]
    assert [backend.pop("weight") for backend in after["backendRefs"]] == [70, 30]
    assert [backend.pop("weight") for backend in before["backendRefs"]] == [100, 0]
    assert after == before


def test_the_present_weights_are_those_of_the_route(kubeconfig: Path, server: ApiServer):
    server.answers = [(200, route()), (404, {"message": "no such kind"})]
    weights = present_weights(Api(connection(None, None)), Names("vitrine"))
    assert weights == (100, 0) and weights.share == 0


def test_without_the_gateways_kinds_there_are_no_weights(kubeconfig: Path, server: ApiServer):
    server.answers = [(404, {"message": "the server could not find the requested resource"})]
    assert present_weights(Api(connection(None, None)), Names("vitrine")) is None


def test_a_route_that_leaves_the_canary_out_is_refused(kubeconfig: Path, server: ApiServer):
    there = route()
    there["spec"]["rules"][0]["backendRefs"].pop()
    server.answers = [(200, there)]
    with pytest.raises(CommandError, match="HTTPRoute vitrine does not send requests to both"):
        present_weights(Api(connection(None, None)), Names("vitrine"))


def test_a_user_without_the_role_is_told_what_is_missing(
    cluster: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """By the real API server, as a service account that may nothing."""
    kubeconfig = Namespace(cluster, "default").kubeconfig_of("default", tmp_path)
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    with pytest.raises(CommandError, match=r'cannot get resource "deployments".*Role NAME-rollout'):
        connect(None, "default")
