"""Runs an ASGI application on its own thread and event loop."""

from __future__ import annotations

import math
import socket
import threading
from collections.abc import Callable
from typing import Any

import uvicorn


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()


def start(application: Any, bound: socket.socket, drain_seconds: float) -> Callable[[], None]:
    """Serve `application` on the bound socket; returns a function that stops it.

    Stopping closes the listener at once and waits up to `drain_seconds` for requests in flight.
    """
    server = _Server(
        uvicorn.Config(
            application,
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=math.ceil(drain_seconds),
        )
    )
    # A daemon, so that a second signal need not wait for it.
    thread = threading.Thread(target=server.run, args=[[bound]], name="rest", daemon=True)
    thread.start()
    server.listening.wait()

    def stop() -> None:
        server.should_exit = True
        thread.join()

    return stop
