"""Objects as people compare them: YAML without what the cluster adds."""

from __future__ import annotations

from typing import Any

import yaml

from vitrine_serving.rollout.kubernetes.api import Object
from vitrine_serving.rollout.target import Change

_ADDED = ("creationTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid")
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def change_of(before: Object | None, after: Object) -> Change:
    """`before` is None for an object that is new."""
    name = f"{after['kind']} {after['metadata']['name']}"
    return Change(name, "" if before is None else as_yaml(before), as_yaml(after))


def as_yaml(thing: Object) -> str:
    metadata = {key: value for key, value in thing["metadata"].items() if key not in _ADDED}
    if _LAST_APPLIED in metadata.get("annotations", {}):
        # All of it once more, as one line.
        metadata["annotations"] = {k: v for k, v in metadata["annotations"].items() if k != _LAST_APPLIED}
    shown: dict[str, Any] = {key: value for key, value in thing.items() if key != "status"}
    return yaml.safe_dump({**shown, "metadata": metadata}, sort_keys=False, allow_unicode=True, width=10_000)
