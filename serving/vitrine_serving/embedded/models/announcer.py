"""Tells subscribers which models serve, whenever that changes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping

logger = logging.getLogger(__name__)

Serving = Mapping[str, bool]
ServingCallback = Callable[[Serving], object]


class Announcer:
    """Calls back one at a time, each time with the state of that moment: no late call brings old news."""

    def __init__(self, look: Callable[[], Serving]) -> None:
        self._look = look
        self._announced = look()
        self._callbacks: list[ServingCallback] = []
        # A callback may subscribe another.
        self._calling = threading.RLock()

    def subscribe(self, callback: ServingCallback) -> None:
        """Call back at once, and from now on."""
        with self._calling:
            self._callbacks.append(callback)
            self._call(callback)

    def announce(self) -> None:
        """Call all subscribers if anything has changed. Not to be called with a lock held that they may need."""
        with self._calling:
            before, self._announced = self._announced, self._look()
            if self._announced != before:
                for callback in tuple(self._callbacks):
                    self._call(callback)

    def _call(self, callback: ServingCallback) -> None:
        try:
            callback(self._look())
        except Exception:
            logger.exception("A subscriber to the state of the models failed")
