"""Forks: a child cannot use gRPC where its parent was using it, and would wait for ever."""

from __future__ import annotations

import os
import time
import weakref
from typing import Any

# gRPC's own, which decides when it is loaded. With it, a child can go on after a fork between two calls; not from
# asyncio, and a fork in the middle of a call hangs before anything here could tell.
_SUPPORTED = os.environ.get("GRPC_ENABLE_FORK_SUPPORT", "").lower() in ("1", "true", "yes")

_channels: weakref.WeakSet[Any] = weakref.WeakSet()
_unusable = False
# gRPC goes on for a moment after the last channel is closed: a fork right then hung most of the time on a busy machine,
# one after half a second never did.
_SETTLING_SECONDS = 1.0
_last_end = -_SETTLING_SECONDS


def opened(channel: Any, asynchronous: bool = False) -> None:
    """A channel is there from now on, as long as it is neither closed nor forgotten."""
    if asynchronous or not _SUPPORTED:
        _channels.add(channel)
        weakref.finalize(channel, _ended).atexit = False


def closed(channel: Any) -> None:
    if channel in _channels:
        _channels.discard(channel)
        _ended()


def _ended() -> None:
    global _last_end
    _last_end = time.monotonic()


def check() -> None:
    """Raises RuntimeError in a process in which gRPC would hang."""
    if _unusable:
        raise RuntimeError(
            "a client was open when this process was forked, and gRPC's threads do not survive that: close all clients "
            "a second before it, start processes with multiprocessing's 'spawn' or 'forkserver', or use RestClient"
        )


def _forked() -> None:
    global _unusable
    _unusable = _unusable or len(_channels) > 0 or time.monotonic() - _last_end < _SETTLING_SECONDS
    _channels.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
