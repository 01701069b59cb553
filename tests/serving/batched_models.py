"""A model that tells what it is run with and can be held up, and ways to wait for requests in its queue."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import meta_graph_pb2

from vitrine_serving.embedded.errors import ServingError
from vitrine_serving.embedded.inference.batch_queue import BatchTask
from vitrine_serving.embedded.inference.batch_scheduler import BatchOwner, BatchScheduler
from vitrine_serving.embedded.inference.batching import BatchingModel
from vitrine_serving.embedded.inference.batching_parameters import BatchingParameters
from vitrine_serving.embedded.inference.deadlines import TimeLeft, unlimited

PATIENCE_SECONDS = 60
# Longer than any test: only a full batch is run.
NEVER_MICROS = 10**12

SIGNATURES = {"one": {"x": types_pb2.DT_FLOAT}, "text": {"text": types_pb2.DT_STRING}} | {
    "two": {"a": types_pb2.DT_INT64, "b": types_pb2.DT_STRING}
}


class EchoModel:
    """Answers each input under its own name, after `running` was told the batch and while `gate` is open."""

    def __init__(self) -> None:
        self.signatures: dict[str, meta_graph_pb2.SignatureDef] = {}
        for name, inputs in SIGNATURES.items():
            signature = self.signatures[name] = meta_graph_pb2.SignatureDef()
            for alias, dtype in inputs.items():
                for info in (signature.inputs[alias], signature.outputs[alias]):
                    info.name, info.dtype = f"{alias}:0", dtype
        self.running: queue.SimpleQueue[dict[str, NDArray[Any]]] = queue.SimpleQueue()
        self.times_left: list[float | None] = []
        self.gate = threading.Event()
        self.gate.set()
        self.closed = False

    def run(
        self,
        signature_name: str,
        inputs: Mapping[str, NDArray[Any]],
        outputs: Sequence[str] | None = None,
        time_left: TimeLeft = unlimited,
    ) -> dict[str, NDArray[Any]]:
        assert not self.closed
        self.times_left.append(time_left())
        self.running.put(dict(inputs))
        assert self.gate.wait(PATIENCE_SECONDS)
        return {name: inputs[name] for name in outputs or inputs}

    def run_tensors(
        self, feeds: Mapping[str, NDArray[Any]], fetches: Sequence[str], time_left: TimeLeft = unlimited
    ) -> list[NDArray[Any]]:
        return [feeds[name] for name in fetches]

    def close(self) -> None:
        self.closed = True

    def batches(self) -> list[dict[str, NDArray[Any]]]:
        """The inputs of every batch since last asked."""
        batches = []
        while not self.running.empty():
            batches.append(self.running.get())
        return batches


class ToldScheduler(BatchScheduler):
    """Tells of every request it has queued or refused."""

    def __init__(self, parameters: BatchingParameters) -> None:
        super().__init__(parameters)
        self.seen = threading.Semaphore(0)

    def schedule(self, owner: BatchOwner, task: BatchTask) -> list[BatchTask]:
        try:
            return super().schedule(owner, task)
        finally:
            self.seen.release()


class Requests:
    """Sends requests to a batched model, each in a thread of its own, one after the other."""

    def __init__(self, model: BatchingModel, scheduler: ToldScheduler) -> None:
        self.model = model
        self._scheduler = scheduler
        self._threads = ThreadPoolExecutor(16)

    def send(self, *arguments: Any, **options: Any) -> Future[dict[str, NDArray[Any]]]:
        """`run` the model; returns once the request is queued or the queue has refused it."""
        answer = self._threads.submit(self.model.run, *arguments, **options)
        assert self._scheduler.seen.acquire(timeout=PATIENCE_SECONDS)
        return answer

    def close(self) -> None:
        self.model.close()
        self._threads.shutdown()
        self._scheduler.close()


@contextmanager
def requests_to(model: Any, parameters: BatchingParameters, **hooks: Any) -> Iterator[Requests]:
    scheduler = ToldScheduler(parameters)
    requests = Requests(BatchingModel(model, parameters, scheduler=scheduler, **hooks), scheduler)
    try:
        yield requests
    finally:
        if isinstance(model, EchoModel):
            model.gate.set()
        requests.close()


def parameters(max_batch_size: int, **others: Any) -> BatchingParameters:
    return BatchingParameters(max_batch_size, **{"batch_timeout_micros": NEVER_MICROS, "num_batch_threads": 1} | others)


def answer(request: Future[dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    return request.result(PATIENCE_SECONDS)


def error(request: Future[dict[str, NDArray[Any]]]) -> ServingError:
    raised = request.exception(PATIENCE_SECONDS)
    assert isinstance(raised, ServingError)
    return raised


def floats(*values: Any) -> NDArray[np.float32]:
    return np.array(values, np.float32)


def strings(*values: bytes) -> NDArray[np.object_]:
    array = np.empty(len(values), np.object_)
    array[:] = values
    return array
