"""Puts requests into batches, by the rules of a queue of TensorFlow's SharedBatchScheduler. Knows no threads."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from vitrine_serving.embedded.errors import Code, ServingError, invalid_argument
from vitrine_serving.embedded.inference.batching_parameters import BatchingParameters
from vitrine_serving.embedded.inference.deadlines import TimeLeft, unlimited


@dataclass
class BatchTask:
    """Rows that go into one batch: a request, or a part of one that was split.

    `inputs` all have `size` rows. Times are in seconds; `enqueued_at` is one of `time.monotonic`.
    """

    signature_name: str
    outputs: tuple[str, ...]
    inputs: Mapping[str, NDArray[Any]]
    size: int
    enqueued_at: float
    time_left: TimeLeft = unlimited
    answer: Future[dict[str, NDArray[Any]]] = field(default_factory=Future)

    def split(self, sizes: Sequence[int]) -> list[BatchTask]:
        parts = []
        start = 0
        for size in sizes:
            rows = {name: array[start : start + size] for name, array in self.inputs.items()}
            parts.append(BatchTask(self.signature_name, self.outputs, rows, size, self.enqueued_at, self.time_left))
            start += size
        return parts


@dataclass
class _Batch:
    tasks: list[BatchTask] = field(default_factory=list)
    size: int = 0
    started_at: float = 0.0


class BatchQueue:
    """The batches that wait for a thread; only the last is open to further tasks. Callers hold a lock."""

    def __init__(self, parameters: BatchingParameters) -> None:
        self._parameters = parameters
        self._batches = deque([_Batch()])

    def add(self, task: BatchTask) -> list[BatchTask]:
        """Put `task` into batches; returns it, or the parts it was split into.

        Raises ServingError: INVALID_ARGUMENT for a task that is too large, UNAVAILABLE when the queue is full.
        """
        self._check_room(task.size)
        limit = self._parameters.execution_batch_size
        room = limit - self._batches[-1].size
        tasks = [task]
        if task.size > room and self._parameters.enable_large_batch_splitting:
            tasks = task.split(_part_sizes(task.size, room, limit))
        for part in tasks:
            if self._batches[-1].size + part.size > limit:
                self._batches.append(_Batch())
            batch = self._batches[-1]
            if not batch.tasks:
                batch.started_at = task.enqueued_at
            batch.tasks.append(part)
            batch.size += part.size
        return tasks

    def ready_at(self) -> float:
        """When the first batch may run: at once when it is closed or full, never when there is none."""
        if self.is_empty():
            return math.inf
        first = self._batches[0]
        if len(self._batches) > 1 or first.size >= self._parameters.execution_batch_size:
            return -math.inf
        return first.started_at + self._parameters.batch_timeout_micros / 1e6

    def pop(self) -> list[BatchTask]:
        """Take the first batch off the queue, open or not."""
        if len(self._batches) == 1:
            self._batches.append(_Batch())
        return self._batches.popleft().tasks

    def is_empty(self) -> bool:
        return not self._batches[0].tasks

    def _check_room(self, size: int) -> None:
        parameters = self._parameters
        if size > parameters.max_batch_size:
            raise invalid_argument(
                f"Task size {size} is larger than maximum input batch size {parameters.max_batch_size}"
            )
        full = "The batch scheduling queue to which this task was submitted is full; "
        batches, open_size = len(self._batches), self._batches[-1].size
        if parameters.enable_large_batch_splitting:
            limit = parameters.execution_batch_size
            capacity = (parameters.max_enqueued_batches - batches) * limit + limit - open_size
            if size > capacity:
                raise ServingError(
                    Code.UNAVAILABLE,
                    f"{full}task size is {size} but scheduling capacity is only {capacity} "
                    f"(num_enqueued_batches={batches}, max_enqueued_batches={parameters.max_enqueued_batches}, "
                    f"open_batch_size={open_size}, max_execution_batch_size={limit})",
                )
        elif open_size + size > parameters.max_batch_size and batches >= parameters.max_enqueued_batches:
            # Only a batch too many is refused, so even a limit of 0 lets one wait.
            raise ServingError(
                Code.UNAVAILABLE,
                f"{full}currently {batches} batches enqueued and max_enqueued_batches is "
                f"{parameters.max_enqueued_batches}",
            )


def _part_sizes(size: int, room: int, limit: int) -> list[int]:
    """Fill the `room` in the open batch, then whole batches of `limit` rows; the last part has the rest."""
    sizes = [room] if room else []
    rest = size - room
    return sizes + [limit] * (rest // limit) + ([rest % limit] if rest % limit else [])
