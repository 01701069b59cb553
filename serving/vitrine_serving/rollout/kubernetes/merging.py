"""The difference of two JSON objects as a merge patch (RFC 7396)."""

from __future__ import annotations

from typing import Any


def merge_patch(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """What makes `after` of `before`; empty where they are equal. Lists are replaced whole."""
    patch: dict[str, Any] = {key: None for key in before if key not in after}
    for key, value in after.items():
        old = before.get(key)
        if key in before and old == value:
            continue
        both = isinstance(old, dict) and isinstance(value, dict)
        patch[key] = merge_patch(old, value) if both else value  # type: ignore[arg-type]
    return patch
