"""The limit of one machine: the exported signature called directly, without a server.

Run as `python -m benchmarks.in_process VERSION_DIRECTORY SECONDS`: prints JSON, the pictures a second of every
combination of batch size and calling threads.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time

import numpy as np

_BATCH_SIZES = (1, 4, 16)


def pictures_per_second(path: str, seconds: float) -> dict[str, float]:
    """Throughput by "batch size x threads", with the session options the server chooses on a CPU."""
    from benchmarks.models import photos
    from vitrine_serving.embedded.inference.saved_model import SessionOptions, load_saved_model

    cores = len(os.sched_getaffinity(0))
    model = load_saved_model(path, SessionOptions(intra_op_parallelism=1, inter_op_parallelism=cores))
    pictures = photos(max(_BATCH_SIZES))
    found = {}
    for size in _BATCH_SIZES:
        batch = np.array(pictures[:size], np.object_)
        for threads in (1, cores, 2 * cores, 16):
            if size * threads <= 64:
                found[f"{size} x {threads}"] = (
                    _rate(lambda batch=batch: model.run("", {"image_bytes": batch}), threads, seconds) * size
                )
    return found


def _rate(call, threads: int, seconds: float) -> float:
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
    print(json.dumps(pictures_per_second(sys.argv[1], float(sys.argv[2]))))
