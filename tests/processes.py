"""Real processes in tests: ports for them, and waiting for what they do."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import TypeVar

import pytest

DEADLINE_SECONDS = 120
_T = TypeVar("_T")

_given: set[int] = set()


def free_port() -> int:
    """A port that nothing listens on just now; never the same one twice."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        port = int(probe.getsockname()[1])
    if port in _given:
        return free_port()
    _given.add(port)
    return port


def wait_until(condition: Callable[[], _T], what: str, deadline_seconds: float = DEADLINE_SECONDS) -> _T:
    """Poll until `condition` is truthy and return what it was; `what` names it where it never is."""
    deadline = time.monotonic() + deadline_seconds
    while time.monotonic() < deadline:
        if outcome := condition():
            return outcome
        time.sleep(0.02)
    pytest.fail(f"not within {deadline_seconds} seconds: {what}")
