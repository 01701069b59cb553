"""Is a track wholly at a version, and if not: what is waited for, or why will it never be?"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import datetime, timezone
from functools import partial

from vitrine_client.errors import VitrineError
from vitrine_serving.errors import CommandError
from vitrine_serving.rollout.kubernetes.api import Api, Kind, Object
from vitrine_serving.rollout.kubernetes.naming import TRACK_LABEL, VERSION_LABEL, Names
from vitrine_serving.rollout.kubernetes.reach import client_of
from vitrine_serving.rollout.target import Health, Track

# Reasons why a container does not start. A registry that is busy or a node that is new has them for a moment, too.
_NOT_STARTING = {
    "CreateContainerConfigError",
    "CreateContainerError",
    "ErrImageNeverPull",
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "RunContainerError",
}
# A node may have to pull gigabytes twice.
PATIENCE_SECONDS = 180.0
# A pod whose node is lost is there until the node is back: its server ended with its grace period, or will not answer.
_LOST_SECONDS = 30.0
_CRASHING = "CrashLoopBackOff"
_RESTARTS = 2
_ERROR = re.compile(r"error|fail|fatal|exception|cannot|can't|not found|no such|invalid|denied|abort|killed", re.I)
_TOLD_LINES = 3
_TOLD_CHARACTERS = 600
_STATUS_SECONDS = 3.0
# One server tells as much about a version as all do.
_ASKED = 2


class _Refusals:
    """Since when containers do not start, as far as was seen here: the cluster tells the reason, and no time."""

    def __init__(self) -> None:
        self._since: dict[tuple[str, str], float] = {}

    def last(self, pod: Object, container: Object) -> bool:
        """Has the container not started for longer than what mends itself takes?"""
        key = (pod["metadata"]["uid"], container["name"])
        if _waits_for(container).get("reason") not in _NOT_STARTING:
            self._since.pop(key, None)
            return False
        return time.monotonic() - self._since.setdefault(key, time.monotonic()) >= PATIENCE_SECONDS


def health_of_tracks(api: Api, names: Names, model: str) -> Callable[[Track, int], Health]:
    """A function of a track and the version that it shall be at, to be asked again and again."""
    return partial(_track_health, api, names, model, _Refusals())


def _track_health(api: Api, names: Names, model: str, refusals: _Refusals, track: Track, version: int) -> Health:
    """As `kubectl rollout status` sees it, and beyond: pods that end count as left, and what fails is explained."""
    deployment = api.get(Kind.DEPLOYMENT, names.deployment(track))
    labelled = deployment["spec"]["template"]["metadata"]["labels"].get(VERSION_LABEL)
    if labelled != str(version):
        return _failed(f"Deployment {names.deployment(track)} is at version {labelled}: somebody else has changed it")
    wanted = replicas(deployment)
    if track is Track.CANARY and not wanted:
        return _failed(f"Deployment {names.deployment(track)} has no replicas: somebody else has scaled it down")
    pods = living_pods(api, names, track)
    new = [pod for pod in pods if pod_version(pod) == version and not is_ending(pod)]
    old = [pod for pod in pods if pod_version(pod) != version]
    for pod in new:
        if why := _pod_failure(api, pod, track, refusals):
            return _failed(f"pod {pod['metadata']['name']}: {why}")
    if why := _version_failure(api, [pod for pod in new if not is_ready(pod)], model, version):
        return _failed(why)
    if why := _timed_out(api, names, deployment, track, version):
        return _failed(why)
    status = deployment.get("status") or {}
    seen = status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]
    updated, available = status.get("updatedReplicas", 0), status.get("availableReplicas", 0)
    if seen and not old and updated >= wanted and status.get("replicas", 0) == updated and available >= wanted:
        return Health(True, told=f"{wanted} at version {version} ready")
    told = [f"{sum(map(is_ready, new))} of {wanted} at version {version} ready"]
    told += [f"{len(old)} of another version left"] if old else []
    told += [why for pod in new if (why := _waiting(pod))][:1] or _not_made(deployment)
    return Health(False, told="; ".join(told))


def living_pods(api: Api, names: Names, track: Track) -> list[Object]:
    """All pods of a track that have or will have a server, also those that are about to end."""
    pods = api.list(Kind.POD, {**names.servers, TRACK_LABEL: track.value})
    return [
        pod for pod in pods if pod.get("status", {}).get("phase") not in ("Failed", "Succeeded") and not _is_lost(pod)
    ]


def is_ending(pod: Object) -> bool:
    return "deletionTimestamp" in pod["metadata"]


def _is_lost(pod: Object) -> bool:
    # The timestamp is that of the end of the grace period.
    ends = pod["metadata"].get("deletionTimestamp")
    return ends is not None and _seconds_since(ends) > _LOST_SECONDS


def _seconds_since(moment: str) -> float:
    then = datetime.strptime(moment, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    return (datetime.now(timezone.utc) - then).total_seconds()


def is_ready(pod: Object) -> bool:
    """Is it sent requests? Pods that end are not, whatever they say."""
    return not is_ending(pod) and _condition(pod, "Ready").get("status") == "True"


def pod_version(pod: Object) -> int | None:
    label = pod["metadata"]["labels"].get(VERSION_LABEL, "")
    return int(label) if label.isdecimal() else None


def replicas(deployment: Object) -> int:
    return int(deployment["spec"].get("replicas", 1))


def _pod_failure(api: Api, pod: Object, track: Track, refusals: _Refusals) -> str:
    """Why the pod will never be ready; empty where it may be."""
    status = pod.get("status", {})
    for container in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
        # Stable's other servers serve on meanwhile: there, the Deployment's own deadline decides.
        if track is Track.CANARY and refusals.last(pod, container):
            return _not_starting(container)
        # Stable's servers may have had bad days; a canary is judged by its own.
        again = container["restartCount"] >= _RESTARTS and (track is Track.CANARY or not is_ready(pod))
        if _waits_for(container).get("reason") == _CRASHING or again:
            return _crash(api, pod, container)
    return ""


def _crash(api: Api, pod: Object, container: Object) -> str:
    last = (container.get("lastState") or {}).get("terminated") or {}
    told = f"container {container['name']} ends again and again, {container['restartCount']} times so far"
    if last.get("reason") == "OOMKilled":
        return f"{told}, for using more memory than its limit"
    lines = [line.strip() for line in api.log(pod["metadata"]["name"], container["name"], previous=True).splitlines()]
    lines = [line for line in lines if line]
    telling = [line for line in lines if _ERROR.search(line)] or lines
    return _shortened(
        f"{told}, with exit code {last.get('exitCode', 'unknown')}: {' | '.join(telling[-_TOLD_LINES:]) or 'no log'}"
    )


def _version_failure(api: Api, pods: list[Object], model: str, version: int) -> str:
    """What a server says that could not load the version; it runs on, and is never ready."""
    running = [pod for pod in pods if pod["status"].get("phase") == "Running" and pod["status"].get("podIP")]
    for pod in running[:_ASKED]:
        try:
            with client_of(api.connection, pod, model, version, _STATUS_SECONDS) as client:
                states = client.status().versions
        except (VitrineError, CommandError):
            # Not there yet, or not to be reached: its readiness is told by the kubelet.
            continue
        for state in states:
            if state.version == version and state.state == "END" and state.error_message:
                return _shortened(
                    f"pod {pod['metadata']['name']}: version {version} could not be loaded: {state.error_message}"
                )
    return ""


def _timed_out(api: Api, names: Names, deployment: Object, track: Track, version: int) -> str:
    progressing = _condition(deployment, "Progressing")
    if progressing.get("reason") != "ProgressDeadlineExceeded":
        return ""
    # After a change of the template it tells of the one before for a moment.
    for owner in api.list(Kind.REPLICA_SET, {**names.servers, TRACK_LABEL: track.value}):
        version_of_owner = owner["spec"]["template"]["metadata"]["labels"].get(VERSION_LABEL)
        if owner["metadata"]["name"] in progressing["message"] and version_of_owner == str(version):
            seconds = deployment["spec"].get("progressDeadlineSeconds")
            return f"no further server became ready within {seconds} seconds (progressDeadlineSeconds)"
    return ""


def _waiting(pod: Object) -> str:
    """What a pod that is not ready waits for, as far as the cluster says so."""
    name, scheduled = pod["metadata"]["name"], _condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        return _shortened(f"pod {name}: {scheduled.get('reason')}: {scheduled.get('message', '')}")
    if is_ready(pod):
        return ""
    for container in pod.get("status", {}).get("containerStatuses", []):
        if _waits_for(container):
            return f"pod {name}: {_not_starting(container)}"
    return f"pod {name} is not ready yet"


def _waits_for(container: Object) -> Object:
    return container["state"].get("waiting") or {}


def _not_starting(container: Object) -> str:
    waiting = _waits_for(container)
    told = [f"container {container['name']}", waiting.get("reason"), waiting.get("message")]
    return _shortened(": ".join(part for part in told if part))


def _not_made(deployment: Object) -> list[str]:
    """Why pods cannot even be made, such as a quota."""
    failure = _condition(deployment, "ReplicaFailure")
    return [_shortened(failure["message"])] if failure.get("status") == "True" else []


def _condition(thing: Object, kind: str) -> Object:
    conditions = thing.get("status", {}).get("conditions") or []
    return next((condition for condition in conditions if condition["type"] == kind), {})


def _failed(why: str) -> Health:
    return Health(False, failed=True, told=why)


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _TOLD_CHARACTERS else f"{line[:_TOLD_CHARACTERS]}..."
