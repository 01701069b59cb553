"""The worker processes of a search: started as cores and memory allow, replaced when they die."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO, cast

import tensorflow as tf

from vitrine_export.search.resources import available_memory, cores

# Of the free memory, what another worker may take: the page cache that its pictures come from needs some, too.
_SHARE = 0.8


class Worker:
    """One process and what it is at."""

    def __init__(self, command: list[str], environment: Mapping[str, str], log: Path, events: queue.Queue[Any]) -> None:
        self.memory = 0
        """Peak resident bytes as of its last epoch; 0 before the first."""
        self._log = log
        self._events = events
        with log.open("wb") as errors:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=dict(environment),
                text=True,
                encoding="utf-8",
                # Ctrl-C in a terminal reaches a whole process group; this process ends its workers itself.
                start_new_session=True,
            )
        self._orders, self._answers = cast(TextIO, self.process.stdin), cast(TextIO, self.process.stdout)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def send(self, message: Mapping[str, Any]) -> None:
        # A worker that has died is reported by its reader.
        with contextlib.suppress(BrokenPipeError):
            self._orders.write(json.dumps(message) + "\n")
            self._orders.flush()

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()
        for stream in (self._orders, self._answers):
            with contextlib.suppress(BrokenPipeError):
                stream.close()

    def cause_of_death(self) -> str:
        """Why a process that has closed its output is no more."""
        code = self.process.wait()
        if code == -signal.SIGKILL:
            return (
                "its process was killed (SIGKILL), as the kernel does where memory runs out; fewer jobs, smaller "
                "batches or smaller pictures need less"
            )
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        return f"its process ended {how}{f': {lines[-1]}' if lines else ''}; more in {self._log}"

    def _read(self) -> None:
        for line in self._answers:
            with contextlib.suppress(ValueError):  # Half a line is all that a killed one had time for.
                self._events.put((self, json.loads(line)))
        self._events.put((self, None))


class Crew:
    """All workers: `jobs` of them, or as many up to `most` as there are GPUs, else cores, and as fit into memory.

    How much memory one needs, its first epoch shows; no other is started before that.
    """

    def __init__(self, folder: Path, index_file: Path, cache: Path, *, jobs: int | None, most: int) -> None:
        self._folder = folder
        self._arguments = [str(index_file), str(cache)]
        self._measured = jobs is None
        self._gpus = len(tf.config.list_physical_devices("GPU"))
        self._limit = jobs or min(self._gpus or cores(), most)
        self._events: queue.Queue[tuple[Worker, dict[str, Any] | None]] = queue.Queue()
        self._slots: dict[int, Worker] = {}
        self._idle: list[Worker] = []

    def __enter__(self) -> Crew:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._slots.values():
            worker.end()

    def has_room(self) -> bool:
        """Whether a trial can be begun now."""
        if self._idle:
            return True
        if len(self._slots) >= self._limit:
            return False
        workers = self._slots.values()
        if not self._measured or not workers:
            return True
        # What a worker that has not finished an epoch will take, nobody knows yet.
        return all(worker.memory for worker in workers) and available_memory() * _SHARE > max(
            worker.memory for worker in workers
        )

    def begin(self, order: Mapping[str, Any]) -> Worker:
        """Give a trial to a worker that has nothing to do, or to a new one."""
        worker = self._idle.pop() if self._idle else self._start()
        worker.send(order)
        return worker

    def next_event(self) -> tuple[Worker, dict[str, Any] | None]:
        """Wait for a worker's message; None for a message means that it has died."""
        return self._events.get()

    def rest(self, worker: Worker) -> None:
        """The worker has finished its trial."""
        self._idle.append(worker)

    def bury(self, worker: Worker) -> None:
        """The worker has died; another may take its place."""
        self._slots = {slot: other for slot, other in self._slots.items() if other is not worker}
        self._idle = [other for other in self._idle if other is not worker]
        worker.end()

    def _start(self) -> Worker:
        slot = next(slot for slot in range(self._limit) if slot not in self._slots)
        threads = max(1, cores() // self._limit)
        command = [sys.executable, "-m", "vitrine_export.search.worker", *self._arguments, str(threads)]
        environment = worker_environment(os.environ, slot, self._limit, threads, self._gpus)
        worker = Worker(command, environment, self._folder / f"worker-{slot}.log", self._events)
        self._slots[slot] = worker
        return worker


def worker_environment(
    environment: Mapping[str, str], slot: int, workers: int, threads: int, gpus: int
) -> dict[str, str]:
    """This process's environment with the worker's share of the machine; `gpus` are those that this process sees."""
    own = {**environment, "OMP_NUM_THREADS": str(threads), "TF_FORCE_GPU_ALLOW_GROWTH": "true"}
    # A trial is one process's work; as part of a cluster it would wait for the others for ever.
    own.pop("TF_CONFIG", None)
    if workers > 1 and gpus > 1:
        visible = environment.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(gpus)))
        own["CUDA_VISIBLE_DEVICES"] = visible.split(",")[slot % gpus]
    return own
