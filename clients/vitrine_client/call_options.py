"""What calls take, for type checkers: `**options: Unpack[...]` in overloads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict

from vitrine_client.images import Check


class PictureOptions(TypedDict, total=False):
    """What every call with pictures takes: see `Client` and `Client.classify`."""

    version: int | None
    label: str | None
    timeout: float | None
    headers: Mapping[str, str] | None
    max_side: int | None
    allow_urls: bool
    check: Check
