"""Which whole request may run now, which waits in line, which is refused."""

from __future__ import annotations

import enum
import threading
from collections import deque
from typing import Generic, TypeVar

Work = TypeVar("Work")


class Decision(enum.Enum):
    RUN = enum.auto()
    WAIT = enum.auto()
    REFUSE = enum.auto()


class Admission(Generic[Work]):
    """Lets `running` pieces of work run at once, first come first served; `in_flight` counts the line too (0: any)."""

    def __init__(self, running: int, in_flight: int) -> None:
        self._may_run = running
        self._may_be_in_flight = in_flight
        self._lock = threading.Lock()
        self._running = 0
        self._line: deque[Work] = deque()

    def enter(self, work: Work) -> Decision:
        """RUN must be followed by `leave`; work that has to WAIT comes back from `next`."""
        with self._lock:
            if self._may_be_in_flight and self._running + len(self._line) >= self._may_be_in_flight:
                return Decision.REFUSE
            # Whoever overtook the line would starve it.
            if self._line or self._running >= self._may_run:
                self._line.append(work)
                return Decision.WAIT
            self._running += 1
            return Decision.RUN

    def leave(self) -> None:
        """Some work has ended. The same thread must then take from `next` until there is nothing more."""
        with self._lock:
            self._running -= 1

    def next(self) -> Work | None:
        """The first in line if it may run now; it must be followed by `leave`."""
        if not self._line:
            return None
        with self._lock:
            if not self._line or self._running >= self._may_run:
                return None
            self._running += 1
            return self._line.popleft()
