"""A loaded version of a model that counts who is using it."""

from __future__ import annotations

import threading

from vitrine_serving.embedded.errors import ServingError
from vitrine_serving.embedded.inference.model import Model


class Servable:
    """One loaded version. Requests hold it with `acquire` and `release`, so it closes after the last."""

    def __init__(self, name: str, version: int, model: Model) -> None:
        self.name = name
        self.version = version
        self.model = model
        self._lock = threading.Lock()
        self._users = 0
        self._retired = False
        self._closed = False
        self._idle = threading.Event()

    def acquire(self) -> bool:
        """Hold the model open; False when it is on its way out already."""
        with self._lock:
            if self._retired:
                return False
            self._users += 1
            return True

    def release(self) -> None:
        with self._lock:
            self._users -= 1
            if self._retired and not self._users:
                self._idle.set()

    def __enter__(self) -> Servable:
        """The servable as `acquire`d; leaving the block releases it."""
        return self

    def __exit__(self, _kind: object, error: object, _traceback: object) -> None:
        if isinstance(error, ServingError):
            error.version = self.version
        self.release()

    def close(self, timeout: float | None = None) -> bool:
        """Refuse new users, wait up to `timeout` seconds for the present ones, then free the model.

        False when users were left and the model was kept.
        """
        with self._lock:
            self._retired = True
            if not self._users:
                self._idle.set()
        if not self._idle.wait(timeout):
            return False
        with self._lock:
            closed, self._closed = self._closed, True
        if not closed:
            self.model.close()
        return True
