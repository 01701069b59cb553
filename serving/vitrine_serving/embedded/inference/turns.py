"""Who may go on where only so many may at once."""

from __future__ import annotations

import threading
from collections import deque


class Turns:
    """Lets `count` go on at once and the others in the order in which they came.

    A `threading.Semaphore` lets newcomers overtake, and who was overtaken waits at the end again.
    """

    def __init__(self, count: int) -> None:
        self._free = count
        # Those who wait; each has its lock released when it is its turn.
        self._waiting: deque[threading.Lock] = deque()
        self._lock = threading.Lock()

    def take(self, seconds: float | None = None) -> bool:
        """Wait, at most so long, for a turn; whether there was one, which is then to be given back."""
        with self._lock:
            if self._free:
                self._free -= 1
                return True
            turn = threading.Lock()
            turn.acquire()
            self._waiting.append(turn)
        if turn.acquire(timeout=-1 if seconds is None else seconds):
            return True
        with self._lock:
            if turn not in self._waiting:
                # It came between the two.
                return True
            self._waiting.remove(turn)
            return False

    def give_back(self) -> None:
        with self._lock:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._free += 1
