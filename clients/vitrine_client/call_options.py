"""What calls take, for type checkers: `**options: Unpack[...]` in overloads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict

from vitrine_client.images import Check


class CallOptions(TypedDict, total=False):
    """What every call takes: see `Client`."""

    version: int | None
    label: str | None
    timeout: float | None
    headers: Mapping[str, str] | None


class PictureOptions(CallOptions, total=False):
    """What every call with pictures takes: see `Client.classify`."""

    max_side: int | None
    allow_urls: bool
    check: Check
