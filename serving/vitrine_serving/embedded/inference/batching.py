"""Runs the concurrent requests to a model together: what `--enable_batching` makes of a SavedModel."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitrine_serving.embedded.errors import Code, ServingError
from vitrine_serving.embedded.inference import batch_arrays
from vitrine_serving.embedded.inference.batch_queue import BatchTask
from vitrine_serving.embedded.inference.batch_scheduler import BatchOwner, BatchScheduler
from vitrine_serving.embedded.inference.batching_parameters import BatchingParameters
from vitrine_serving.embedded.inference.deadlines import TimeLeft, unlimited
from vitrine_serving.embedded.inference.model import Model
from vitrine_serving.embedded.inference.saved_model import DEFAULT_SIGNATURE
from vitrine_serving.embedded.inference.tensors import to_ndarray

# Called with the signature, the rows of the requests, the rows run when padding is counted in, and for each
# request the seconds it was queued.
OnBatch = Callable[[str, int, int, Sequence[float]], None]
# Called with the rows and the number of inputs of a request.
OnRequest = Callable[[int, int], None]
# Called with the seconds each request was queued.
OnExpired = Callable[[Sequence[float]], None]


class BatchingModel:
    """A model whose requests wait for each other. Safe to run from many threads at once.

    Requests with the same signature and the same outputs share a batch. It is run as one, so what makes
    one request fail in the model fails its whole batch.
    """

    def __init__(
        self,
        model: Model,
        parameters: BatchingParameters,
        on_batch: OnBatch | None = None,
        *,
        on_request: OnRequest | None = None,
        on_expired: OnExpired | None = None,
        scheduler: BatchScheduler | None = None,
    ) -> None:
        """Batch the requests to `model`, which is closed with this one.

        `scheduler` has the threads that all models of a server share; without one this model gets its own.
        `on_request` is told of every request about to be queued, `on_batch` of every batch about to be run,
        and `on_expired` of one that is not, for none of its requests is waited for. Raises ServingError
        INVALID_ARGUMENT for parameters that contradict each other.
        """
        parameters.check()
        self.signatures = model.signatures
        self._model = model
        self._parameters = parameters
        self._on_batch = on_batch
        self._on_request = on_request
        self._on_expired = on_expired
        self._scheduler = scheduler or BatchScheduler(parameters)
        self._owns_scheduler = scheduler is None
        self._owner = BatchOwner(parameters, self._run_batch)
        self._defaults = {
            name: {alias: to_ndarray(alias, proto) for alias, proto in signature.defaults.items()}
            for name, signature in model.signatures.items()
        }

    def run(
        self,
        signature_name: str,
        inputs: Mapping[str, NDArray[Any]],
        outputs: Sequence[str] | None = None,
        time_left: TimeLeft = unlimited,
    ) -> dict[str, NDArray[Any]]:
        """Run one signature as `SavedModel.run` does, in a batch with others; waits for the answer.

        All inputs need the same 0th dimension, and the outputs have it too. A request with no time left when
        its batch begins is not run; the batch has the time of its most patient request. Raises the
        ServingErrors of `SavedModel.run` and of batching: UNAVAILABLE when the queue is full,
        RESOURCE_EXHAUSTED for a request that waited too long in it, INVALID_ARGUMENT and
        FAILED_PRECONDITION for shapes that do not fit a batch.
        """
        signature_name = signature_name or DEFAULT_SIGNATURE
        complete = {**self._defaults.get(signature_name, {}), **inputs}
        if not self._accepts(signature_name, complete, outputs or ()):
            # What the model refuses must not fail others, and the model says best why.
            return self._model.run(signature_name, inputs, outputs, time_left)
        size = batch_arrays.batch_size(complete)
        if self._on_request:
            self._on_request(size, len(complete))
        wanted = tuple(sorted(outputs or self.signatures[signature_name].outputs))
        task = BatchTask(signature_name, wanted, complete, size, time.monotonic(), time_left)
        answers = [part.answer.result() for part in self._scheduler.schedule(self._owner, task)]
        if len(answers) == 1:
            return answers[0]
        return {name: np.concatenate([answer[name] for answer in answers]) for name in wanted}

    def run_tensors(
        self, feeds: Mapping[str, NDArray[Any]], fetches: Sequence[str], time_left: TimeLeft = unlimited
    ) -> list[NDArray[Any]]:
        """As the model's own, without batching."""
        return self._model.run_tensors(feeds, fetches, time_left)

    def close(self) -> None:
        """Finish what is queued, then close the model."""
        self._scheduler.drain(self._owner)
        if self._owns_scheduler:
            self._scheduler.close()
        self._model.close()

    def _accepts(self, signature_name: str, inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str]) -> bool:
        signature = self.signatures.get(signature_name)
        return (
            signature is not None
            and inputs.keys() == signature.inputs.keys()
            and len(set(outputs)) == len(outputs)
            and all(name in signature.outputs for name in outputs)
        )

    def _run_batch(self, tasks: list[BatchTask]) -> None:
        started_at = time.monotonic()
        queue_seconds = [started_at - task.enqueued_at for task in tasks]
        tasks = [task for task in tasks if not _drop_expired(task)]
        if not tasks:
            if self._on_expired:
                self._on_expired(queue_seconds)
            return
        signature_name, outputs = tasks[0].signature_name, tasks[0].outputs
        sizes = [task.size for task in tasks]
        size = sum(sizes)
        # There is no row to repeat when nobody sent one.
        rows = self._parameters.padded(size) if size else 0
        if self._on_batch:
            self._on_batch(signature_name, size, rows, queue_seconds)
        pad = self._parameters.pad_variable_length_inputs
        inputs = {
            alias: batch_arrays.join(tensor.name, [task.inputs[alias] for task in tasks], rows, pad)
            for alias, tensor in self.signatures[signature_name].inputs.items()
        }
        answer = self._model.run(signature_name, inputs, outputs, lambda: _most_time_left(tasks))
        for task, part in zip(tasks, batch_arrays.cut(answer, sizes, rows), strict=True):
            task.answer.set_result(part)


def _drop_expired(task: BatchTask) -> bool:
    left = task.time_left()
    if left is None or left > 0:
        return False
    task.answer.set_exception(
        ServingError(Code.RESOURCE_EXHAUSTED, "Run() timeout exceeded while waiting in batching queue")
    )
    return True


def _most_time_left(tasks: Sequence[BatchTask]) -> float | None:
    most = 0.0
    for task in tasks:
        left = task.time_left()
        if left is None:
            return None
        most = max(most, left)
    return most
