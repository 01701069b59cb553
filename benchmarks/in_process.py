"""The limit of one machine: the exported signature called directly, without a server.

python -m benchmarks.in_process VERSION_DIRECTORY SECONDS [BATCHxTHREADS ...]

Prints JSON: the pictures a second of each combination of batch size and calling threads.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np

from vitrine_serving.embedded.cpus import available_cpus

CORES = available_cpus()
COMBINATIONS = [
    f"{size}x{threads}" for size in (1, 4, 16) for threads in sorted({1, CORES, 2 * CORES, 16}) if size * threads <= 64
]


def pictures_per_second(path: str, seconds: float, combinations: Sequence[str]) -> dict[str, float]:
    """Throughput of each combination, with the session options the server chooses on a CPU."""
    from benchmarks.models import photos
    from vitrine_serving.embedded.inference.saved_model import SessionOptions, load_saved_model

    model = load_saved_model(path, SessionOptions(intra_op_parallelism=1, inter_op_parallelism=CORES))
    pictures = photos(32)
    found = {}
    for combination in combinations:
        size, threads = map(int, combination.split("x"))
        inputs = {"image_bytes": np.array(pictures[:size], np.object_)}

        def call(inputs: dict[str, np.ndarray] = inputs) -> object:
            return model.run("", inputs)

        found[combination] = _rate(call, threads, seconds) * size
    return found


def _rate(call: Callable[[], object], threads: int, seconds: float) -> float:
    counts = [0] * threads
    stop = threading.Event()

    def run(number: int) -> None:
        while not stop.is_set():
            call()
            counts[number] += 1

    call()
    workers = [threading.Thread(target=run, args=[number]) for number in range(threads)]
    for worker in workers:
        worker.start()
    time.sleep(seconds / 4)
    before, started = sum(counts), time.perf_counter()
    time.sleep(seconds)
    rate = (sum(counts) - before) / (time.perf_counter() - started)
    stop.set()
    for worker in workers:
        worker.join()
    return rate


if __name__ == "__main__":
    path, seconds, *chosen = sys.argv[1:]
    print(json.dumps(pictures_per_second(path, float(seconds), chosen or COMBINATIONS)))
