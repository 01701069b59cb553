"""The same server, pinned to another version: pod templates and ConfigMaps as plain JSON objects, old in, new out."""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from vitrine_serving.config import InvalidConfig, PinnedModel, ServingConfig
from vitrine_serving.config.models import parse_models
from vitrine_serving.config.text_proto import to_text
from vitrine_serving.errors import CommandError
from vitrine_serving.rollout.kubernetes.naming import MODEL_LABEL, TRACK_LABEL, VERSION_LABEL, Names
from vitrine_serving.rollout.target import Track

Object = dict[str, Any]

_CONFIG_VOLUME = "config"
_PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


def config_name(template: Object) -> str:
    """The ConfigMap that a pod template takes its configuration from. Raises CommandError where there is none."""
    for volume in template["spec"].get("volumes") or []:
        if volume["name"] == _CONFIG_VOLUME and "configMap" in volume:
            return str(volume["configMap"]["name"])
    raise CommandError(
        f"the pods have no volume {_CONFIG_VOLUME!r} from a ConfigMap, so there is nothing to pin them to a version "
        "by; apply the manifests of k8s/ first"
    )


def pinned_template(template: Object, model: str, version: int, config: str, track: Track) -> Object:
    """`template` with `version` in all places that name one, and of `track`; everything else as it is."""
    pinned = copy.deepcopy(template)
    old_config = config_name(template)
    labels = pinned["metadata"].setdefault("labels", {})
    labels |= {TRACK_LABEL: track.value, MODEL_LABEL: model, VERSION_LABEL: str(version)}
    for reference in _config_references(pinned["spec"]):
        if reference["name"] == old_config:
            reference["name"] = config
    for container in _containers(pinned["spec"]):
        for variable in container.get("env") or []:
            if variable["name"] == "VITRINE_VERSION" and "valueFrom" not in variable:
                variable["value"] = str(version)
        for probe in _PROBES:
            if path := container.get(probe, {}).get("httpGet", {}).get("path"):
                container[probe]["httpGet"]["path"] = _pinned_path(path, model, version)
    return pinned


def pinned_config(config: Object, names: Names, model: str, version: int) -> Object:
    """The ConfigMap that pins `model` to `version` and is otherwise as `config`; its name tells its content.

    Raises CommandError where `config` has no models.config that pins the model.
    """
    where = f"ConfigMap {config['metadata']['name']}"
    old = config.get("data") or {}
    try:
        message = parse_models(old.get("models.config", "").encode())
    except InvalidConfig as error:
        raise CommandError(
            f"{where}: models.config: {error}; write it with `vitrine-serving config write` and apply the manifests"
        ) from None
    _pin(message, model, version, where)
    data = {
        **old,
        "models.config": to_text(message, f"Version {version}, as `vitrine-serving rollout` pinned it."),
        **_about(message, old),
    }
    if "VERSION" in old:
        data["VERSION"] = str(version)
    content = {"data": data, **({"binaryData": config["binaryData"]} if "binaryData" in config else {})}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:10]
    labels = {**names.configs, MODEL_LABEL: model, VERSION_LABEL: str(version)}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": f"{names.name}-config-v{version}-{digest}", "labels": labels},
        "immutable": True,
        **content,
    }


def superfluous(configs: list[Object], owners: list[Object], keep: int) -> list[str]:
    """Names of the ConfigMaps that no pod template of `owners` refers to, without the `keep` youngest of them."""
    used = {
        reference["name"] for owner in owners for reference in _config_references(owner["spec"]["template"]["spec"])
    }
    unused = [config["metadata"] for config in configs if config["metadata"]["name"] not in used]
    unused.sort(key=lambda metadata: (metadata["creationTimestamp"], metadata["name"]), reverse=True)
    return [metadata["name"] for metadata in unused[keep:]]


def _pin(message: Any, model: str, version: int, where: str) -> None:
    entries = {entry.name: entry for entry in message.model_config_list.config}
    unpinned = [name for name, entry in entries.items() if not entry.model_version_policy.specific.versions]
    if model not in entries or unpinned:
        said = f"model {unpinned[0]} is pinned to no version" if unpinned else f"model {model} is not listed"
        raise CommandError(
            f"{where}: models.config: {said}; write it with `vitrine-serving config write` and apply the manifests"
        )
    entry = entries[model]
    entry.model_version_policy.specific.versions[:] = [version]
    for label in entry.version_labels:
        entry.version_labels[label] = version


def _about(message: Any, old: dict[str, str]) -> dict[str, str]:
    """The files that say what is served, of those that there were."""
    models = tuple(
        PinnedModel(entry.name, entry.base_path, tuple(entry.model_version_policy.specific.versions))
        for entry in message.model_config_list.config
    )
    address = re.search(r'"http://([^/"]+)/v1/models/', old.get("probes.json", ""))
    files = (ServingConfig(models, probe_address=address[1]) if address else ServingConfig(models)).files()
    return {name: files[name] for name in ("pinned", "probes.json") if name in old}


def _pinned_path(path: str, model: str, version: int) -> str:
    return re.sub(
        rf"(/v1/models/(?:{re.escape(model)}|{re.escape(quote(model))})/versions/)\d+", rf"\g<1>{version}", path
    )


def _containers(spec: Object) -> list[Object]:
    return [*(spec.get("initContainers") or []), *spec["containers"]]


def _config_references(spec: Object) -> Iterator[Object]:
    for volume in spec.get("volumes") or []:
        if "configMap" in volume:
            yield volume["configMap"]
        for source in volume.get("projected", {}).get("sources") or []:
            if "configMap" in source:
                yield source["configMap"]
    for container in _containers(spec):
        for variable in container.get("env") or []:
            if "configMapKeyRef" in (variable.get("valueFrom") or {}):
                yield variable["valueFrom"]["configMapKeyRef"]
        for source in container.get("envFrom") or []:
            if "configMapRef" in source:
                yield source["configMapRef"]
