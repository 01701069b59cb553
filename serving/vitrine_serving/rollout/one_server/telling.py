"""What people are told of one server's versions."""

from __future__ import annotations

from collections.abc import Mapping

from vitrine_client import VersionStatus
from vitrine_serving.rollout.one_server.server import failure
from vitrine_serving.rollout.target import Track, TrackStatus


def track_status(track: Track, version: int | None, versions: Mapping[int, VersionStatus] | str) -> TrackStatus:
    """`versions` as the server told them, or why it did not."""
    if version is None:
        return TrackStatus(track, None, 0, 0, None, "none")
    if isinstance(versions, str):
        return TrackStatus(track, version, 1, 0, None, "failing", versions)
    status = versions.get(version)
    if status is None:
        return TrackStatus(track, version, 1, 0, None, "starting", f"the server does not know version {version}")
    ready = status.state == "AVAILABLE"
    health = "ok" if ready else "failing" if failure(status) else "starting"
    return TrackStatus(track, version, 1, int(ready), None, health, str(status))


def warnings(model: str, version: int, stable: int) -> list[str]:
    """What loading `version` beside `stable` means for clients, and the way round it."""
    if version < stable:
        return []
    return [
        f"version {version} is higher than {stable}, so requests that name neither a version nor a label go to it "
        "once it is loaded, before it is judged: have clients ask for the label stable, or start the canary as a "
        "second container, behind a load balancer of yours: "
        f"COMPOSE_PROJECT_NAME=vitrine-canary MODEL={model} VERSION={version} GRPC_PORT=8600 REST_PORT=8601 "
        "UI_PORT=8180 make up PROFILE=cpu (or gpu, embedded)"
    ]
