"""A bound on the time series that clients can create by naming models that do not exist."""

from __future__ import annotations

import threading
from collections.abc import Iterable

OTHER = "other"
_LONGEST_LABEL = 256  # characters


class LabelLimit:
    """Which label values get a time series of their own; what is not admitted belongs under `OTHER`.

    Values the server vouches for (a request with them succeeded) are as few as its models and always
    admitted. Of all others, which only a client's request names, the first `unvouched` are.
    """

    def __init__(self, unvouched: int = 1000) -> None:
        self._limit = unvouched
        self._lock = threading.Lock()
        self._vouched: set[tuple[str, ...]] = set()
        self._unvouched: set[tuple[str, ...]] = set()

    def admits(self, labels: Iterable[str], vouched: bool) -> bool:
        labels = tuple(labels)
        with self._lock:
            if labels in self._vouched:
                return True
            if vouched:
                self._unvouched.discard(labels)
                self._vouched.add(labels)
                return True
            if labels in self._unvouched:
                return True
            if len(self._unvouched) >= self._limit or max(map(len, labels)) > _LONGEST_LABEL:
                return False
            self._unvouched.add(labels)
            return True
