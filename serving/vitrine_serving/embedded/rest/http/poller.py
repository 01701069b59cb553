"""Waiting for many file descriptors from many threads: each event goes to one thread, and disarms."""

from __future__ import annotations

import select
import sys
from typing import Protocol

_NO_FD = -1


class Poller(Protocol):
    """Descriptors are disarmed after each event until armed again; closing one forgets it."""

    def add_permanent(self, fd: int) -> None:
        """From now on every `wait` returns at once when `fd` is readable: it is never disarmed."""

    def add(self, fd: int) -> None:
        """Take on a descriptor, armed for reading."""

    def arm(self, fd: int, writing: bool = False) -> None:
        """One event once `fd` can be read (or written) or has failed."""

    def wait(self) -> int:
        """The next descriptor that had its event; -1 when there was none after all."""

    def close(self) -> None: ...


if sys.platform == "linux":

    class _Epoll:
        def __init__(self) -> None:
            self._epoll = select.epoll()

        def add_permanent(self, fd: int) -> None:
            self._epoll.register(fd, select.EPOLLIN)

        def add(self, fd: int) -> None:
            self._epoll.register(fd, select.EPOLLIN | select.EPOLLONESHOT)

        def arm(self, fd: int, writing: bool = False) -> None:
            event = select.EPOLLOUT if writing else select.EPOLLIN
            self._epoll.modify(fd, event | select.EPOLLONESHOT)

        def wait(self) -> int:
            # One at a time: the other threads take the others.
            events = self._epoll.poll(-1, 1)
            return events[0][0] if events else _NO_FD

        def close(self) -> None:
            self._epoll.close()

    def make_poller() -> Poller:
        return _Epoll()

else:

    class _Kqueue:
        def __init__(self) -> None:
            self._kqueue = select.kqueue()

        def add_permanent(self, fd: int) -> None:
            self._kqueue.control([select.kevent(fd, select.KQ_FILTER_READ, select.KQ_EV_ADD)], 0)

        def add(self, fd: int) -> None:
            self.arm(fd)

        def arm(self, fd: int, writing: bool = False) -> None:
            event = select.KQ_FILTER_WRITE if writing else select.KQ_FILTER_READ
            # A one-shot event is gone once delivered, so arming is adding it anew.
            self._kqueue.control([select.kevent(fd, event, select.KQ_EV_ADD | select.KQ_EV_ONESHOT)], 0)

        def wait(self) -> int:
            events = self._kqueue.control(None, 1, None)
            return events[0].ident if events else _NO_FD

        def close(self) -> None:
            self._kqueue.close()

    def make_poller() -> Poller:
        return _Kqueue()
