"""Which of the versions that lie under a base path are to be served."""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable
from dataclasses import dataclass

# What TensorFlow's own text to int64 conversion takes.
_NUMBER = re.compile(r"\s*[+-]?[0-9]{1,64}\s*", re.ASCII)
_INT64 = range(-(2**63), 2**63)


@dataclass(frozen=True)
class Latest:
    """The highest `num_versions`, one at least."""

    num_versions: int = 1


@dataclass(frozen=True)
class All:
    """Every version."""


@dataclass(frozen=True)
class Specific:
    """These versions and no others."""

    versions: frozenset[int]


VersionPolicy = Latest | All | Specific


@dataclass(frozen=True)
class Selection:
    """Chosen versions (number to child name), and what is wrong with what was found."""

    children: dict[int, str]
    warnings: list[str]


def select(policy: VersionPolicy, name: str, base_path: str, children: Iterable[str]) -> Selection:
    """Choose the versions of model `name` to serve among the `children` of its base path.

    A version is a child named by a number; leading zeros are allowed, and of `1` and `001` the one
    sorted last counts. Other names are ignored.
    """
    found: dict[int, str] = {}
    warnings = []
    for child in sorted(children):
        if not _NUMBER.fullmatch(child) or (version := int(child)) not in _INT64:
            continue
        if version in found:
            warnings.append(
                f"Duplicate version directories detected. Version {version} will be loaded from {child}, "
                f"{found[version]} will be ignored."
            )
        found[version] = child
    chosen: Iterable[int]
    if isinstance(policy, Latest):
        chosen = heapq.nlargest(max(policy.num_versions, 1), found)
    elif isinstance(policy, All):
        chosen = found
    else:
        chosen = policy.versions & found.keys()
        warnings += [
            f"Version {version} of servable {name}, which was requested to be served as a 'specific' version "
            "in the servable's version policy, was not found in the file system"
            for version in sorted(policy.versions - found.keys())
        ]
    selection = Selection({version: found[version] for version in chosen}, warnings)
    if not selection.children:
        warnings.append(
            f"No versions of servable {name} found under base path {base_path}. "
            "Did you forget to name your leaf directory as a number (eg. '/1/')?"
        )
    return selection
