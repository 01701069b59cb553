"""A progress bar on the last line of a terminal."""

from __future__ import annotations

import time
from typing import TextIO

_SECONDS_BETWEEN = 0.1
_WIDEST_BAR = 40


class ProgressBar:
    """How far it is: share, count, rate and remaining time. It leaves the line empty for whoever calls `erase`.

    Args:
        total: how many there are to do.
        columns: of the terminal that `stream` leads to.
    """

    def __init__(self, total: int, stream: TextIO, columns: int) -> None:
        self._total = total
        self._stream = stream
        self._columns = columns
        self._start = time.monotonic()
        self._next = 0.0
        self._shown = False

    def advance(self, done: int) -> None:
        """Shows that so many are done, but not more often than the eye can follow."""
        now = time.monotonic()
        if self._shown and now < self._next:
            return
        self._next = now + _SECONDS_BETWEEN
        # A full line would make some terminals begin another one.
        line = self._line(done, now - self._start)[: self._columns - 1]
        # Said before it is so: Ctrl-C may come the moment it is.
        self._shown = True
        self._stream.write(f"\r\x1b[K{line}")
        self._stream.flush()

    def erase(self) -> None:
        if self._shown:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._shown = False

    def _line(self, done: int, seconds: float) -> str:
        share = done / self._total if self._total else 1.0
        count = f"{done:>{len(str(self._total))}}/{self._total}"
        rate = done / seconds if seconds > 0 else 0.0
        told = f"{count}  {rate:.0f}/s  {_clock((self._total - done) / rate)} left" if rate else count
        width = min(_WIDEST_BAR, self._columns - len(told) - 10)
        bar = f"[{'#' * round(share * width):{width}}] " if width > 0 else ""
        return f"{share:4.0%} {bar}{told}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
