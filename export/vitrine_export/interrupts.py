"""Signals that end a long piece of work, of which none is lost."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator


class Interrupts:
    """The signals that have come."""

    def __init__(self) -> None:
        self.received: list[int] = []

    def check(self) -> None:
        """Raise KeyboardInterrupt where a signal has come whose own one was dropped."""
        if self.received:
            raise KeyboardInterrupt


@contextlib.contextmanager
def interrupts(*signals: signal.Signals) -> Iterator[Interrupts]:
    """Each of `signals` raises KeyboardInterrupt inside, wherever the main thread is.

    Where that is a finalizer or a weak reference's callback, Python drops the exception. So work that may take long
    is to call `check` now and then.
    """
    found = Interrupts()

    def stop(number: int, _: object) -> None:
        found.received.append(number)
        raise KeyboardInterrupt

    # Only the main thread may set handlers, and only it would hear of the signals.
    heard = signals if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.signal(number, stop) for number in heard}
    try:
        yield found
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
