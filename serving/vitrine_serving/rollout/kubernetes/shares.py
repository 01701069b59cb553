"""Who gets to the canary: the gate of the Services, the ratio of servers, and a Gateway's weights if there is one."""

from __future__ import annotations

from typing import NamedTuple

from vitrine_serving.errors import CommandError
from vitrine_serving.rollout.kubernetes.api import Api, Kind, Object
from vitrine_serving.rollout.kubernetes.naming import TRACK_LABEL, Names
from vitrine_serving.rollout.target import Track

_ROUTES = (Kind.HTTP_ROUTE, Kind.GRPC_ROUTE)


class Weights(NamedTuple):
    stable: int
    canary: int

    @property
    def share(self) -> float | None:
        """The canary's, 0 to 1."""
        return self.canary / sum(self) if sum(self) else None


def canary_replicas(stable: int, percent: int) -> int:
    """How many servers of the canary get about `percent` of the requests beside `stable` others: at least one.

    Raises CommandError for a share that leaves nothing to stable.
    """
    if not 0 < percent < 100:
        raise CommandError(f"a share of {percent} percent: give 1 to 99; all of the traffic is what `promote` gives")
    return max(1, round(stable * percent / (100 - percent)))


def close_gate(api: Api, names: Names) -> None:
    """No client of the shared Services and routes is sent to the canary any more."""
    set_weights(api, names, Weights(100, 0))
    _select(api, names, Track.STABLE.value)


def open_gate(api: Api, names: Names) -> None:
    """The shared Services send clients to the servers of both tracks."""
    _select(api, names, None)


def gate_is_open(api: Api, names: Names) -> bool:
    service = _service(api, names.name)
    return TRACK_LABEL not in service["spec"]["selector"]


def present_weights(api: Api, names: Names) -> Weights | None:
    """The weights of the routes; None where no route divides the traffic, so that the ratio of servers does.

    Where two routes differ, as they do between two calls, the one that gives less to the canary.
    """
    found = [_weights(route, names) for kind in _ROUTES if (route := api.find(kind, names.name)) is not None]
    return min(found, key=lambda weights: weights.canary) if found else None


def set_weights(api: Api, names: Names, weights: Weights) -> None:
    """For all routes that there are."""
    wanted = {names.service(track): weight for track, weight in zip(Track, weights, strict=True)}

    def change(route: Object) -> None:
        for reference in _references(route, names):
            reference["weight"] = wanted[reference["name"]]

    for kind in _ROUTES:
        if api.find(kind, names.name) is not None:
            api.modify(kind, names.name, change)


def _select(api: Api, names: Names, track: str | None) -> None:
    for service in names.shared_services:
        if api.find(Kind.SERVICE, service) is not None:
            # A merge patch of this key alone: None takes it away, and the manifests say nothing of it.
            api.patch(Kind.SERVICE, service, {"spec": {"selector": {TRACK_LABEL: track}}})
        elif service == names.name:
            _service(api, service)


def _service(api: Api, name: str) -> Object:
    service = api.find(Kind.SERVICE, name)
    if service is None:
        raise CommandError(f"no Service {name} in namespace {api.namespace}: apply the manifests of k8s/ first")
    return service


def _weights(route: Object, names: Names) -> Weights:
    # 1 is what a missing weight means.
    by_service = {reference["name"]: int(reference.get("weight", 1)) for reference in _references(route, names)}
    return Weights(*(by_service[names.service(track)] for track in Track))


def _references(route: Object, names: Names) -> list[Object]:
    """What the route sends requests to, as far as it is a track. Raises CommandError unless both tracks are there."""
    services = {names.service(track) for track in Track}
    found = [
        reference
        for rule in route["spec"].get("rules") or []
        for reference in rule.get("backendRefs") or []
        if reference["name"] in services
    ]
    if {reference["name"] for reference in found} != services:
        raise CommandError(
            f"{route['kind']} {names.name} does not send requests to both {' and '.join(sorted(services))}, so it "
            "cannot divide them; apply k8s/components/gateway, or remove the route"
        )
    return found
