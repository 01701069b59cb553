"""Requests that begin when they are due, however many are under way."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable

import gevent
from gevent.event import Event
from gevent.pool import Pool

from vitrine_client.blocking import Client
from vitrine_client.errors import VitrineError
from vitrine_client.load.run import Run

# Each is a greenlet and a request: some hundred megabytes. A server that stalls for a minute at 150 a second has these.
_MOST_UNDER_WAY = 10_000
# Locust may have given all users to other processes.
_ALONE_AFTER_SECONDS = 1.0


class NotSent(VitrineError):
    """The load generator had as many requests under way as it can hold."""

    summary = "not sent: too many requests are under way"


class Unanswered(VitrineError):
    """The run was over, and the time for its last requests as well."""

    summary = "not answered when the run was over"


class OpenLoop:
    """One process' share of the arrivals, sent over its users' clients in turn.

    Args:
        moments: seconds from the run's begin at which a request is due, in order.
    """

    def __init__(self, run: Run, moments: Iterable[float]) -> None:
        self._run, self._moments = run, moments
        self._users: list[tuple[Client, str]] = []
        self._own: list[Client] = []
        self._there = Event()
        self._stopped = Event()
        self._end = math.inf
        self._over = Event()
        self._waiting: dict[object, tuple[float, str]] = {}
        self._under_way = Pool(_MOST_UNDER_WAY)
        self._sender = gevent.spawn(self._send)

    def join(self, client: Client, transport: str) -> None:
        """From now on requests go over this client, too."""
        self._users.append((client, transport))
        self._there.set()

    def leave(self, client: Client) -> None:
        self._users = [user for user in self._users if user[0] is not client]

    def wait(self, seconds: float) -> None:
        """Returns when the run is over, or after `seconds`."""
        self._over.wait(seconds)

    def stop(self, until: float | None) -> None:
        """Send what is due until then, and no more; wait for what is under way, which ends by its own timeouts.

        Args:
            until: seconds from the run's begin, which may be to come; None: now.
        """
        self._end = self._now() if until is None else until
        self._stopped.set()
        self._sender.join()
        if not self._under_way.join(timeout=self._run.settings.timeout + 1):
            self._under_way.kill()
            for moment, transport in self._waiting.values():
                self._run.count(moment, transport, self._now() - moment, failure=Unanswered(Unanswered.summary))
        for client in self._own:
            client.close()
        self._over.set()

    def _now(self) -> float:
        return time.perf_counter() - self._run.begin

    def _send(self) -> None:
        if not self._there.wait(_ALONE_AFTER_SECONDS):
            self._ask_alone()
        for turn, moment in enumerate(self._moments):
            # A time of zero as well, to let the others work where all of this is late.
            self._stopped.wait(max(0.0, moment - self._now()))
            if moment > self._end:
                return
            if self._stopped.is_set():
                gevent.sleep(max(0.0, moment - self._now()))
            if not self._users:
                self._ask_alone()
            client, transport = self._users[turn % len(self._users)]
            if self._under_way.full():
                self._run.recording.dropped += 1
                self._run.count(moment, transport, 0.0, failure=NotSent(NotSent.summary))
            else:
                self._under_way.spawn(self._ask, client, transport, moment)

    def _ask(self, client: Client, transport: str, moment: float) -> None:
        key = object()
        self._waiting[key] = moment, transport
        self._run.ask(client, transport, moment)
        del self._waiting[key]

    def _ask_alone(self) -> None:
        for transport in self._run.settings.transports:
            client = self._run.settings.client(transport)
            self._own.append(client)
            self.join(client, transport)
