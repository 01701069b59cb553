"""The few calls that a rollout makes of the Kubernetes API, on plain JSON objects.

Plain, because a typed model drops the fields that a newer cluster has, and a pod template has to be copied whole.
"""

from __future__ import annotations

import copy
import json
import random
import threading
import time
from collections.abc import Callable
from enum import Enum
from typing import Any, TypeAlias
from urllib.parse import quote, urlencode

from kubernetes.client import ApiClient
from kubernetes.client.exceptions import ApiException
from kubernetes.config import ConfigException
from urllib3.exceptions import HTTPError

from vitrine_serving.errors import CommandError
from vitrine_serving.rollout.kubernetes.connection import Connection
from vitrine_serving.rollout.kubernetes.merging import merge_patch

Object: TypeAlias = dict[str, Any]

_CALL_SECONDS = 10.0
# As long as an API server takes that is started anew.
_PATIENCE_SECONDS = 60.0
_LONGEST_PAUSE = 3.0
# Another change came in between: as often as an autoscaler and a controller can be in the way.
_CONFLICTS = 30
_LOG_BYTES = 64 * 1024


class Kind(Enum):
    """What a rollout has to do with: path of the API group, and the resource's plural."""

    DEPLOYMENT = ("apis/apps/v1", "deployments")
    REPLICA_SET = ("apis/apps/v1", "replicasets")
    SERVICE = ("api/v1", "services")
    CONFIG_MAP = ("api/v1", "configmaps")
    POD = ("api/v1", "pods")
    LEASE = ("apis/coordination.k8s.io/v1", "leases")
    HTTP_ROUTE = ("apis/gateway.networking.k8s.io/v1", "httproutes")
    GRPC_ROUTE = ("apis/gateway.networking.k8s.io/v1", "grpcroutes")

    @property
    def plural(self) -> str:
        return self.value[1]


class Missing(CommandError):
    """404: there is no such object, or no such kind of objects."""


class Conflict(CommandError):
    """409: the object has changed meanwhile, or is there already."""


class Unreachable(CommandError):
    """The API server does not answer, or only that it cannot."""


class Api:
    """One namespace of a cluster. Calls have a timeout, and are made again where the server is away for a moment.

    All are safe to be made again: changes name the resourceVersion that they are of, or come to the same in the end.
    All raise CommandError that says what was asked and what is in the way; Missing, Conflict and Unreachable are told
    apart. Several threads may share it.
    """

    def __init__(self, connection: Connection, patience: float = _PATIENCE_SECONDS) -> None:
        """`patience`: seconds for which a server that does not answer is asked again."""
        self.connection = connection
        self.namespace = connection.namespace
        self._client = ApiClient(connection.configuration)
        self._patience = patience
        # A change that took long must not be made again by who is no longer the one to make it.
        self.before_retry: Callable[[], None] = lambda: None
        # The official client loads expired credentials anew, which two threads must not do at once.
        self._credentials = threading.Lock()

    def get(self, kind: Kind, name: str) -> Object:
        return self._json("GET", kind, name)

    def find(self, kind: Kind, name: str) -> Object | None:
        """None where there is no such object."""
        try:
            return self.get(kind, name)
        except Missing:
            return None

    def list(self, kind: Kind, labels: dict[str, str]) -> list[Object]:
        selector = ",".join(f"{key}={value}" for key, value in labels.items())
        items: list[Object] = self._json("GET", kind, query={"labelSelector": selector})["items"]
        return items

    def create(self, kind: Kind, body: Object, dry_run: bool = False) -> Object:
        """Raises Conflict where it is there: also where an answer was lost, and the call was made again."""
        return self._json("POST", kind, body=body, query=_dry(dry_run))

    def replace(self, kind: Kind, body: Object) -> Object:
        """Raises Conflict unless `body` has the present resourceVersion."""
        return self._json("PUT", kind, body["metadata"]["name"], body)

    def patch(self, kind: Kind, name: str, body: Object, dry_run: bool = False) -> Object:
        """A merge patch: fields that are not named are left alone."""
        return self._json("PATCH", kind, name, body, _dry(dry_run))

    def modify(self, kind: Kind, name: str, change: Callable[[Object], None], dry_run: bool = False) -> Object:
        """Make `change` of the object as it is, and send what is different then, as often as somebody comes between.

        Nothing is sent where nothing is different.
        """
        for _ in range(_CONFLICTS):
            before = self.get(kind, name)
            after = copy.deepcopy(before)
            change(after)
            body = merge_patch(before, after)
            if not body:
                return before
            body.setdefault("metadata", {})["resourceVersion"] = before["metadata"]["resourceVersion"]
            try:
                return self.patch(kind, name, body, dry_run)
            except Conflict:
                time.sleep(random.uniform(0.01, 0.1))  # noqa: S311
        raise CommandError(
            f"{kind.plural} {name}: somebody else changes it all the time; stop that and run the command again"
        )

    def delete(self, kind: Kind, name: str) -> None:
        """Also where it is gone already."""
        try:
            self._json("DELETE", kind, name, body={"propagationPolicy": "Background"})
        except Missing:
            return

    def log(self, pod: str, container: str, previous: bool, lines: int = 100) -> str:
        """The end of a container's log; empty where there is none."""
        query = {"container": container, "tailLines": str(lines), "limitBytes": str(_LOG_BYTES)}
        path = self._path(Kind.POD, f"{quote(pod)}/log", {**query, "previous": str(previous).lower()})
        try:
            # Once: it explains a failure, and must not be what fails.
            return self._once("GET", path, None, f"get pods/log {pod}").decode(errors="replace")
        except CommandError:
            return ""

    def _json(
        self, verb: str, kind: Kind, name: str = "", body: Object | None = None, query: dict[str, str] | None = None
    ) -> Object:
        path = self._path(kind, quote(name, safe=""), query or {})
        asked = f"{_VERBS[verb] if name or body else 'list'} {kind.plural}{name and ' '}{name}"
        deadline, pause = time.monotonic() + self._patience, 0.1
        while True:
            try:
                answer: Object = json.loads(self._once(verb, path, body, asked))
                return answer
            except Unreachable:
                if time.monotonic() + pause > deadline:
                    raise
            except ValueError:
                raise CommandError(
                    f"{asked}: {self.connection.configuration.host} does not answer as an API server does; is it "
                    "one, or a page to log in?"
                ) from None
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
            if verb != "GET" and "dryRun" not in (query or {}):
                self.before_retry()

    def _path(self, kind: Kind, name: str, query: dict[str, str]) -> str:
        group, plural = kind.value
        path = f"/{group}/namespaces/{quote(self.namespace, safe='')}/{plural}{name and '/'}{name}"
        return f"{path}?{urlencode(query)}" if query else path

    def _once(self, verb: str, path: str, body: Object | None, asked: str) -> bytes:
        host = self.connection.configuration.host
        content_type = "application/merge-patch+json" if verb == "PATCH" else "application/json"
        try:
            with self._credentials:
                headers = {"Accept": "application/json, */*", **self.connection.authorization()}
        except (ConfigException, OSError, ValueError) as error:
            raise CommandError(
                f"the credentials of this context cannot be read: {_line(error)}; log in again"
            ) from None
        if body is not None:
            headers["Content-Type"] = content_type
        try:
            answer = self._client.rest_client.request(
                verb, host + path, headers, body,
                _request_timeout=_CALL_SECONDS,
            )  # fmt: skip
            content: bytes = answer.read()
        except ApiException as error:
            raise Unreachable(f"API server {host}: no trusted connection: {_line(error.reason)}") from None
        except (HTTPError, OSError) as error:
            raise Unreachable(
                f"API server {host} cannot be reached ({_line(error)}); is the cluster up, and is it the right context?"
            ) from None
        if answer.status >= 400:
            raise _refusal(answer.status, content, asked, self.namespace)
        return content


_VERBS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


def _dry(dry_run: bool) -> dict[str, str]:
    return {"dryRun": "All"} if dry_run else {}


def _refusal(status: int, content: bytes, asked: str, namespace: str) -> CommandError:
    try:
        said = _line(json.loads(content)["message"])
    except (ValueError, KeyError, TypeError):
        said = _line(content[:300].decode(errors="replace"))
    told = f"{asked} in namespace {namespace}: {said}"
    if status == 401:
        return CommandError(f"{told}; the credentials of this context are not (or no longer) taken: log in again")
    if status == 403:
        return CommandError(
            f"{told}; the Role NAME-rollout of k8s/components/rollout allows it: bind it to whoever runs this"
        )
    if status == 404:
        return Missing(told)
    if status == 409:
        return Conflict(told)
    if status == 429 or status >= 500:
        return Unreachable(told)
    return CommandError(told)


def _line(text: object) -> str:
    return " ".join(str(text).split())
