"""Whether a server answers, and whether it is done with what a trial has left behind."""

from __future__ import annotations

import time

from vitrine_client.errors import VitrineError
from vitrine_client.load.settings import Settings

_ANSWERS_WHEN_IDLE = 3
# Beyond this factor of the slowest answer of an idle server, there are others before us.
_BUSY = 3.0
# What any machine's scheduler may add.
_SLACK_SECONDS = 0.005
# How long a server may need for what it has taken, beyond the time in which requests are given up.
_LONGEST_SECONDS = 60.0
# Of a server that refuses at once: it is not to be kept from getting up by being asked.
_PAUSE_SECONDS = 0.1


class Gone(Exception):
    """The server does not answer; the message says why, in one line."""


class Probe:
    """Single requests, one after the other, each over a connection of its own.

    Raises Gone, when made, for a server that does not answer.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._content = next(settings.samples()).content
        # Whatever the first costs, such as a model that is loaded with it, is no measure.
        self._ask_all()
        self._idle = max(self._ask_all() for _ in range(_ANSWERS_WHEN_IDLE))

    def wait_until_idle(self) -> None:
        """Returns when an answer is about as fast as before all trials; after a minute, a slower one will do.

        Raises Gone if there is no answer by then.
        """
        deadline = time.monotonic() + self._settings.timeout + _LONGEST_SECONDS
        while True:
            try:
                quick = self._ask_all() <= self._idle * _BUSY + _SLACK_SECONDS
                if quick or time.monotonic() > deadline:
                    return
            except Gone:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_PAUSE_SECONDS)

    def _ask_all(self) -> float:
        """The seconds of the slower transport's answer."""
        return max(self._ask(transport) for transport in self._settings.transports)

    def _ask(self, transport: str) -> float:
        with self._settings.client(transport) as client:
            begin = time.perf_counter()
            try:
                client.classify([self._content], check="off")
            except VitrineError as error:
                raise Gone(" ".join(str(error).split())) from error
            return time.perf_counter() - begin
