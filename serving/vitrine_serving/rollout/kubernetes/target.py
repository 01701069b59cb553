"""A fleet in Kubernetes: two Deployments that are each pinned to one version, behind the same Services."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress

from vitrine_client.blocking import Client
from vitrine_serving.errors import CommandError
from vitrine_serving.rollout.kubernetes import shares
from vitrine_serving.rollout.kubernetes.api import Api, Conflict, Kind, Missing, Object
from vitrine_serving.rollout.kubernetes.changes import change_of
from vitrine_serving.rollout.kubernetes.connection import connection
from vitrine_serving.rollout.kubernetes.health import health_of_tracks, is_ready, living_pods, pod_version, replicas
from vitrine_serving.rollout.kubernetes.lease import Lock, holder_of
from vitrine_serving.rollout.kubernetes.naming import (
    MODEL_LABEL,
    PREVIOUS_ANNOTATION,
    ROLLOUT_ANNOTATION,
    VERSION_LABEL,
    Names,
)
from vitrine_serving.rollout.kubernetes.pinning import config_name, pinned_config, pinned_template, superfluous
from vitrine_serving.rollout.kubernetes.reach import client_of
from vitrine_serving.rollout.state import RolloutState
from vitrine_serving.rollout.target import Change, Health, TargetStatus, Track, TrackStatus

_KEPT_CONFIGS = 10
_FIRST_PATIENCE_SECONDS = 5.0


def connect(
    context: str | None, namespace: str | None, name: str = "vitrine", model: str | None = None
) -> KubernetesTarget:
    """The deployment `name` in a namespace of the caller's cluster; None takes what the kubeconfig or the pod says.

    Raises CommandError where the cluster cannot be used, there is no such deployment, or it serves another model.
    """
    names = Names(name)
    reached = connection(context, namespace)
    # Whoever has just typed an address wants to know at once that nobody is there.
    stable = _deployment(Api(reached, _FIRST_PATIENCE_SECONDS), names, Track.STABLE)
    served = _template_labels(stable).get(MODEL_LABEL)
    if served is None or (model is not None and model != served):
        where = f"Deployment {names.deployment(Track.STABLE)} in namespace {reached.namespace}"
        if served is None:
            raise CommandError(f"{where}: its pods have no label {MODEL_LABEL}; apply the manifests of k8s/ first")
        raise CommandError(f"{where} serves model {served}, not {model}; give its --name, or leave the model out")
    return KubernetesTarget(Api(reached), names, served)


class KubernetesTarget:
    """`Target` on the objects of k8s/. Made by `connect`."""

    divides_traffic = True

    def __init__(self, api: Api, names: Names, model: str) -> None:
        self.model = model
        self._api = api
        self._names = names
        self._health = health_of_tracks(api, names, model)
        self._lock = Lock(Api(api.connection), names.lease)
        api.before_retry = self._lock.check

    @property
    def name(self) -> str:
        return f"{self._api.connection.context}/{self._api.namespace}/{self._names.name}"

    def held(self, by: str) -> AbstractContextManager[None]:
        return self._lock.held(by)

    def state(self) -> RolloutState | None:
        return self._state_in(self._deployment(Track.STABLE))

    def save(self, state: RolloutState) -> None:
        self._lock.check()
        self._api.patch(
            Kind.DEPLOYMENT,
            self._names.deployment(Track.STABLE),
            {"metadata": {"annotations": {ROLLOUT_ANNOTATION: state.to_json()}}},
        )

    def stable_version(self) -> int:
        version = self._version(self._deployment(Track.STABLE))
        if version is None:
            raise CommandError(
                f"Deployment {self._names.deployment(Track.STABLE)}: its pods have no label {VERSION_LABEL} with a "
                "number; apply the manifests of k8s/ first"
            )
        return version

    def previous_version(self) -> int | None:
        version = _annotations(self._deployment(Track.STABLE)).get(PREVIOUS_ANNOTATION, "")
        return int(version) if version.isdecimal() else None

    def start_canary(self, version: int) -> None:
        self._lock.check()
        self._deployment(Track.CANARY)
        # Before there is anything to be sent to.
        shares.close_gate(self._api, self._names)
        stable = self._deployment(Track.STABLE)
        template = self._template(stable, version, Track.CANARY, self._made_config(stable, version))
        self._api.modify(Kind.DEPLOYMENT, self._names.deployment(Track.CANARY), _at(template, 1))

    def canary_health(self, version: int) -> Health:
        return self._health(Track.CANARY, version)

    def set_share(self, percent: int) -> None:
        self._lock.check()
        wanted = shares.canary_replicas(replicas(self._deployment(Track.STABLE)), percent)
        self._api.patch(Kind.DEPLOYMENT, self._names.deployment(Track.CANARY), {"spec": {"replicas": wanted}})
        if shares.present_weights(self._api, self._names) is None:
            # The share grows with the servers that are ready.
            shares.open_gate(self._api, self._names)

    def share_health(self, percent: int) -> Health:
        """With a Gateway, the weights change in here, once all servers are there to take the share."""
        version = self._version(self._deployment(Track.CANARY))
        if version is None:
            return Health(False, failed=True, told="the canary has no version: somebody else has changed it")
        health = self.canary_health(version)
        if not health.ready:
            return health
        weights = shares.present_weights(self._api, self._names)
        if weights is None:
            if not shares.gate_is_open(self._api, self._names):
                self._lock.check()
                shares.open_gate(self._api, self._names)
        elif weights != (100 - percent, percent):
            self._lock.check()
            shares.set_weights(self._api, self._names, shares.Weights(100 - percent, percent))
        share = self._canary_share()
        told = "" if share is None else f"{share:.0%} of the traffic, {percent}% asked for"
        return Health(True, told=f"{health.told}; {told}")

    def begin_promotion(self, version: int, previous: int | None) -> None:
        self._lock.check()
        if self._version(self._deployment(Track.STABLE)) == version:
            return

        def change(deployment: Object) -> None:
            config = self._made_config(deployment, version)
            # One change of one object: whoever sees the new version sees the one before, too.
            annotations = deployment["metadata"].setdefault("annotations", {})
            annotations.pop(PREVIOUS_ANNOTATION, None)
            if previous is not None:
                annotations[PREVIOUS_ANNOTATION] = str(previous)
            deployment["spec"]["template"] = self._template(deployment, version, Track.STABLE, config)

        self._api.modify(Kind.DEPLOYMENT, self._names.deployment(Track.STABLE), change)

    def promotion_health(self, version: int) -> Health:
        return self._health(Track.STABLE, version)

    def end_canary(self) -> None:
        self._lock.check()
        shares.close_gate(self._api, self._names)
        self._api.patch(Kind.DEPLOYMENT, self._names.deployment(Track.CANARY), {"spec": {"replicas": 0}})

    def canary_ended(self) -> Health:
        """The gate opens in here, once it keeps nobody out, so that the Services are as the manifests say again."""
        if replicas(self._deployment(Track.CANARY)):
            # No failure of the canary: nothing is to be rolled back for it.
            return Health(False, told="somebody else has scaled the canary up again; scale it to 0, or run this again")
        if left := living_pods(self._api, self._names, Track.CANARY):
            return Health(False, told=f"{len(left)} of the canary's servers left")
        self._lock.check()
        shares.open_gate(self._api, self._names)
        self._prune_configs()
        return Health(True, told="the canary has no servers")

    def clients(self, track: Track) -> Sequence[Client]:
        version = self._version(self._deployment(track))
        if version is None:
            return []
        pods = [pod for pod in living_pods(self._api, self._names, track) if is_ready(pod)]
        return [
            client_of(self._api.connection, pod, self.model, version) for pod in pods if pod_version(pod) == version
        ]

    def prometheus_selectors(self, track: Track) -> str:
        pods = f"{self._names.deployment(track)}-[a-z0-9]+-[a-z0-9]+"
        return f'namespace="{self._api.namespace}",pod=~"{pods}"'

    def status(self) -> TargetStatus:
        share = self._canary_share()
        return TargetStatus(
            target=self.name,
            model=self.model,
            tracks=(
                self._track_status(Track.STABLE, None if share is None else 1 - share),
                self._track_status(Track.CANARY, share),
            ),
            rollout=self.state(),
            holder=holder_of(self._api, self._names.lease),
        )

    def warnings(self, version: int) -> Sequence[str]:
        return ()

    def rollout_changes(self, version: int) -> list[Change]:
        stable, canary = self._deployment(Track.STABLE), self._deployment(Track.CANARY)
        config = self._config(stable, version)
        name = config["metadata"]["name"]
        changes = []
        if self._api.find(Kind.CONFIG_MAP, name) is None:
            changes.append(change_of(None, self._api.create(Kind.CONFIG_MAP, config, dry_run=True)))
        for track, before, count in ((Track.CANARY, canary, 0), (Track.STABLE, stable, None)):
            change = _at(self._template(stable, version, track, name), count)
            after = self._api.modify(Kind.DEPLOYMENT, self._names.deployment(track), change, dry_run=True)
            changes.append(change_of(before, after))
        return [change for change in changes if change.before != change.after]

    def _deployment(self, track: Track) -> Object:
        return _deployment(self._api, self._names, track)

    def _state_in(self, stable: Object) -> RolloutState | None:
        text = _annotations(stable).get(ROLLOUT_ANNOTATION)
        where = f"annotation {ROLLOUT_ANNOTATION} of Deployment {stable['metadata']['name']}"
        return None if text is None else RolloutState.from_json(text, where)

    def _version(self, deployment: Object) -> int | None:
        label = _template_labels(deployment).get(VERSION_LABEL, "")
        return int(label) if label.isdecimal() else None

    def _template(self, stable: Object, version: int, track: Track, config: str) -> Object:
        """Stable's template as it is now but for the version, so that nothing else is judged with it."""
        return pinned_template(stable["spec"]["template"], self.model, version, config, track)

    def _config(self, stable: Object, version: int) -> Object:
        name = config_name(stable["spec"]["template"])
        return pinned_config(self._api.get(Kind.CONFIG_MAP, name), self._names, self.model, version)

    def _made_config(self, stable: Object, version: int) -> str:
        """The name of the ConfigMap for `version`, which is there."""
        config = self._config(stable, version)
        name: str = config["metadata"]["name"]
        # Where it is there: the name tells the content, and nobody can change it.
        with suppress(Conflict):
            self._api.create(Kind.CONFIG_MAP, config)
        return name

    def _prune_configs(self) -> None:
        owners = [*map(self._deployment, Track), *self._api.list(Kind.REPLICA_SET, self._names.servers)]
        configs = self._api.list(Kind.CONFIG_MAP, self._names.configs)
        for name in superfluous(configs, owners, _KEPT_CONFIGS):
            self._api.delete(Kind.CONFIG_MAP, name)

    def _canary_share(self) -> float | None:
        """What the canary gets of the requests just now, 0 to 1; None where nobody gets any."""
        weights = shares.present_weights(self._api, self._names)
        if weights is not None:
            return weights.share
        if not shares.gate_is_open(self._api, self._names):
            return 0.0
        stable, canary = (sum(map(is_ready, living_pods(self._api, self._names, track))) for track in Track)
        return canary / (stable + canary) if stable + canary else None

    def _track_status(self, track: Track, share: float | None) -> TrackStatus:
        deployment = self._deployment(track)
        pods = living_pods(self._api, self._names, track)
        version, wanted, ready = self._version(deployment), replicas(deployment), sum(map(is_ready, pods))
        if not wanted or version is None:
            told = f"{len(pods)} servers end" if pods else ""
            return TrackStatus(track, None, wanted, ready, share, "none", told)
        seen = self._health(track, version)
        health = "ok" if seen.ready else "failing" if seen.failed else "starting"
        return TrackStatus(track, version, wanted, ready, share, health, seen.told)


def _deployment(api: Api, names: Names, track: Track) -> Object:
    try:
        return api.get(Kind.DEPLOYMENT, names.deployment(track))
    except Missing:
        raise CommandError(
            f"no Deployment {names.deployment(track)} in namespace {api.namespace} of {api.connection.context}; apply "
            "the manifests first (`kubectl apply -k k8s/overlays/...`), or give the right --namespace and --name"
        ) from None


def _annotations(thing: Object) -> dict[str, str]:
    annotations: dict[str, str] = thing["metadata"].get("annotations") or {}
    return annotations


def _template_labels(deployment: Object) -> dict[str, str]:
    labels: dict[str, str] = deployment["spec"]["template"]["metadata"].get("labels") or {}
    return labels


def _at(template: Object, count: int | None) -> Callable[[Object], None]:
    """Change a Deployment to `template`, and to `count` servers unless it is None."""

    def change(deployment: Object) -> None:
        deployment["spec"]["template"] = template
        if count is not None:
            deployment["spec"]["replicas"] = count

    return change
