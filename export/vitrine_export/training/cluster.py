"""TF_CONFIG: which machines train together, and which of them this process is."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vitrine_export.errors import RunError

_EXAMPLE = '{"cluster": {"worker": ["HOST:PORT", "HOST:PORT"]}, "task": {"type": "worker", "index": 0}}'
_ROLES = ("chief", "worker")


@dataclass(frozen=True)
class Cluster:
    addresses: tuple[str, ...]
    """HOST:PORT of every worker, the chief's first."""
    number: int
    """Of this process among them; 0 is the chief, which writes the run."""


def read_cluster(environment: Mapping[str, str]) -> Cluster | None:
    """The cluster that TF_CONFIG names; None where it is not set or names this process alone.

    Raises RunError for a TF_CONFIG that could not work, saying what is wrong with it.
    """
    text = environment.get("TF_CONFIG", "").strip()
    if not text:
        return None
    try:
        config = json.loads(text)
    except ValueError as error:
        raise _wrong(f"is not JSON: {error}") from None
    if not isinstance(config, dict):
        raise _wrong("must be a JSON object")
    cluster, task = _section(config, "cluster"), _section(config, "task")
    if odd := sorted(set(cluster) - set(_ROLES)):
        raise _wrong(f"cluster.{odd[0]}: not a role here; accepted: {', '.join(_ROLES)}")
    members = [(role, number) for role in _ROLES for number in range(len(_addresses(cluster, role)))]
    addresses = [address for role in _ROLES for address in _addresses(cluster, role)]
    if not addresses:
        raise _wrong("cluster.worker: missing: a list of HOST:PORT, one for each worker")
    if len(cluster.get("chief", [])) > 1:
        raise _wrong("cluster.chief: more than one")
    if twice := [address for address in addresses if addresses.count(address) > 1]:
        raise _wrong(f"cluster: {twice[0]} is given twice")
    role, number = task.get("type"), task.get("index", 0)
    if role not in _ROLES:
        raise _wrong(f"task.type: {role!r}; accepted: {', '.join(_ROLES)}")
    if (role, number) not in members or isinstance(number, bool):
        raise _wrong(f"task.index: {number!r}: cluster.{role} has {len(cluster.get(role, []))} entries, from 0 on")
    return Cluster(tuple(addresses), members.index((role, number))) if len(addresses) > 1 else None


def _section(config: dict[str, Any], name: str) -> dict[str, Any]:
    if not isinstance(config.get(name), dict):
        raise _wrong(f"{name}: missing")
    return config[name]


def _addresses(cluster: dict[str, Any], role: str) -> list[str]:
    addresses = cluster.get(role, [])
    if not isinstance(addresses, list):
        raise _wrong(f"cluster.{role}: must be a list of HOST:PORT")
    for address in addresses:
        port = re.fullmatch(r"\S+:(\d{1,5})", address) if isinstance(address, str) else None
        if port is None or not 0 < int(port[1]) < 65536:
            raise _wrong(f"cluster.{role}: {address!r} is not HOST:PORT")
    return addresses


def _wrong(what: str) -> RunError:
    return RunError(f"TF_CONFIG: {what}; it must look like {_EXAMPLE}")
