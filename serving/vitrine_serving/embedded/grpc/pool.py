"""The threads that run gRPC's calls."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

logger = logging.getLogger(__name__)


class Task:
    """Work given to a pool, as much of a Future as gRPC's server uses."""

    __slots__ = ("_arguments", "_callbacks", "_ended", "_function", "in_flight")

    def __init__(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self._function = function
        self._arguments = arguments
        self._callbacks: deque[Callable[[Task], Any]] = deque()
        self._ended = False
        self.in_flight = True

    def add_done_callback(self, callback: Callable[[Task], Any]) -> None:
        """Call `callback` once the task has ended, here and now if it has."""
        self._callbacks.append(callback)
        if self._ended:
            self._tell()

    def run(self) -> None:
        try:
            self._function(*self._arguments)
        except BaseException:
            logger.exception("A gRPC call's thread failed")
        self._ended = True
        self._tell()

    def _tell(self) -> None:
        # The pool's thread and the one that adds may both be here: each callback is taken by one of them.
        while self._callbacks:
            try:
                callback = self._callbacks.popleft()
            except IndexError:
                return
            callback(self)


class CallPool:
    """What gRPC's server needs of a ThreadPoolExecutor, without that one's locks and conditions for every task.

    Those are a part of what a small call costs.
    """

    def __init__(self, threads: int, prefix: str) -> None:
        """Up to `threads` daemon threads, started when there is work for them."""
        self._most = threads
        self._prefix = prefix
        self._tasks: SimpleQueue[Task | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._started = 0
        self._current = threading.local()
        # How many tasks were given to the pool and have not ended, or said that they as good as have.
        self.in_flight = 0
        self._holding = False
        self._go_on = threading.Event()

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Task:
        task = Task(function, arguments)
        with self._lock:
            self.in_flight += 1
            is_short = self._started < min(self.in_flight, self._most)
            self._started += is_short
        self._tasks.put(task)
        if is_short:
            self._start_thread()
        return task

    def finishing(self) -> None:
        """The calling task is about to answer, and not in flight any more: who gets the answer may ask again."""
        task = getattr(self._current, "task", None)
        if task is not None:
            self._land(task)

    def hold(self) -> None:
        """Take on tasks, and run none before `go_on`."""
        self._holding = True

    def go_on(self) -> None:
        self._holding = False
        self._go_on.set()

    def shutdown(self) -> None:
        """Let the threads end after what was submitted; does not wait for them."""
        for _ in range(self._started):
            self._tasks.put(None)

    def _start_thread(self) -> None:
        try:
            threading.Thread(target=self._work, name=f"{self._prefix}-{self._started}", daemon=True).start()
        except RuntimeError:
            # The system has no more to give: the others will get to the task, or nobody can.
            with self._lock:
                self._started -= 1
            if not self._started:
                raise

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            if self._holding:
                self._go_on.wait()
            self._current.task = task
            task.run()
            self._land(task)
            # Not to keep a call's request and answer in memory until the next one comes.
            self._current.task = task = None

    def _land(self, task: Task) -> None:
        with self._lock:
            self.in_flight -= task.in_flight
            task.in_flight = False
