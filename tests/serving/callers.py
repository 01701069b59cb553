"""Clients that ask without a break while a test changes things under them."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Caller:
    """Asks again and again from some threads until stopped; keeps the answers and the failures."""

    def __init__(self, ask: Callable[[], object], threads: int = 4) -> None:
        self.answers: list[object] = []
        self.failures: list[Exception] = []
        self._ask = ask
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]

    def __enter__(self) -> Caller:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self.answers.append(self._ask())
            except Exception as error:
                self.failures.append(error)
