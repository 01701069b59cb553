"""The threads that run batches, for all models of a server: TensorFlow's SharedBatchScheduler in Python.

Each queue gets its turn. A thread takes a batch that is full, or one that has waited for its timeout.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from vitrine_serving.embedded.errors import Code, ServingError, internal_error
from vitrine_serving.embedded.inference.batch_queue import BatchQueue, BatchTask
from vitrine_serving.embedded.inference.batching_parameters import BatchingParameters

_log = logging.getLogger(__name__)


@dataclass(eq=False)
class BatchOwner:
    """A model whose requests are batched.

    `process` runs one batch and answers its tasks; what it raises is the answer of those it has left.
    """

    parameters: BatchingParameters
    process: Callable[[list[BatchTask]], None]
    closing: bool = False
    running: int = 0


_Key = tuple[BatchOwner, str, tuple[str, ...]]


class BatchScheduler:
    """`num_batch_threads` threads, shared by any number of owners. Safe to call from many threads at once."""

    def __init__(self, parameters: BatchingParameters) -> None:
        parameters.check()
        lock = threading.Lock()
        self._work = threading.Condition(lock)
        self._drained = threading.Condition(lock)
        # The next queue to be served comes first. One without tasks is forgotten: clients choose, by the
        # outputs they ask for, how many there are.
        self._queues: OrderedDict[_Key, BatchQueue] = OrderedDict()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._run, name=f"{parameters.thread_pool_name}_{number}", daemon=True)
            for number in range(parameters.num_batch_threads)
        ]
        for thread in self._threads:
            thread.start()

    def schedule(self, owner: BatchOwner, task: BatchTask) -> list[BatchTask]:
        """Queue `task`; returns it, or the parts it was split into, each with an answer to wait for.

        Raises ServingError INVALID_ARGUMENT for a task that is too large, UNAVAILABLE when the queue is full
        or the owner is on its way out.
        """
        key = (owner, task.signature_name, task.outputs)
        with self._work:
            if owner.closing:
                raise ServingError(Code.UNAVAILABLE, "The batch scheduling queue of this task is closed")
            queue = self._queues.get(key) or BatchQueue(owner.parameters)
            before = queue.ready_at()
            tasks = queue.add(task)
            self._queues[key] = queue
            if queue.ready_at() != before:
                self._work.notify()
        return tasks

    def drain(self, owner: BatchOwner) -> None:
        """Refuse further tasks, run the queued ones without waiting for company, and return after the last."""
        with self._work:
            owner.closing = True
            self._work.notify_all()
            self._drained.wait_for(lambda: not owner.running and all(key[0] is not owner for key in self._queues))

    def close(self) -> None:
        """End the threads; every owner has been drained before."""
        with self._work:
            self._closed = True
            self._work.notify_all()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while self._run_batch():
            pass

    # On its own, so that a thread at rest holds on to no request and no model.
    def _run_batch(self) -> bool:
        taken = self._take()
        if taken is None:
            return False
        owner, tasks = taken
        try:
            owner.process(tasks)
        except Exception as error:
            _fail(tasks, error)
        with self._drained:
            owner.running -= 1
            if owner.closing:
                self._drained.notify_all()
        return True

    def _take(self) -> tuple[BatchOwner, list[BatchTask]] | None:
        """Wait for a batch that may run; None when the threads are to end."""
        with self._work:
            while not self._closed:
                now = time.monotonic()
                next_ready_at = math.inf
                for key, queue in self._queues.items():
                    ready_at = now if key[0].closing else queue.ready_at()
                    if ready_at <= now:
                        return key[0], self._pop(key)
                    next_ready_at = min(next_ready_at, ready_at)
                self._work.wait(min(next_ready_at - now, threading.TIMEOUT_MAX))
        return None

    def _pop(self, key: _Key) -> list[BatchTask]:
        queue = self._queues.pop(key)
        tasks = queue.pop()
        if not queue.is_empty():
            self._queues[key] = queue
        key[0].running += 1
        # Another thread must watch the timeouts that this one has watched.
        if self._queues:
            self._work.notify()
        return tasks


def _fail(tasks: list[BatchTask], error: Exception) -> None:
    if not isinstance(error, ServingError):
        _log.error("A batch failed", exc_info=error)
        error = internal_error()
    for task in tasks:
        if not task.answer.done():
            # Each waiting thread raises it, and adds its own traceback.
            task.answer.set_exception(error.untraced())
