"""The limit of one machine: the exported signature called directly, without a server.

Prints JSON: the pictures a second of each combination of batch size and calling threads.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitrine_serving.embedded.cpus import available_cpus

Picture = bytes | NDArray[np.uint8]
CORES = available_cpus()
COMBINATIONS = [
    f"{size}x{threads}" for size in (1, 4, 16) for threads in sorted({1, CORES, 2 * CORES, 16}) if size * threads <= 64
]


def pictures_per_second(
    path: str, seconds: float, combinations: Sequence[str], pictures: Sequence[Picture]
) -> dict[str, float]:
    """Throughput of each combination, with the session options the server chooses on a CPU.

    Encoded pictures go to the default signature, decoded ones, all of one size, to `pixels`.
    """
    from vitrine_serving.embedded.inference.saved_model import SessionOptions, load_saved_model

    model = load_saved_model(path, SessionOptions(intra_op_parallelism=1, inter_op_parallelism=CORES))
    signature, alias = ("", "image_bytes") if isinstance(pictures[0], bytes) else ("pixels", "images")
    found = {}
    for combination in combinations:
        size, threads = map(int, combination.split("x"))
        turn = itertools.cycle(_batches(pictures, size))

        def call(turn: itertools.cycle[NDArray[Any]] = turn) -> object:
            return model.run(signature, {alias: next(turn)})

        found[combination] = _rate(call, threads, seconds) * size
    return found


def _batches(pictures: Sequence[Picture], size: int) -> list[NDArray[Any]]:
    """Whole batches only: all calls are to be alike."""
    kind = np.object_ if isinstance(pictures[0], bytes) else np.uint8
    whole = len(pictures) - len(pictures) % size
    return [np.array(pictures[first : first + size], kind) for first in range(0, whole, size)]


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


def in_a_process(
    version: Path, seconds: float, *combinations: str, pictures: Path | None = None, network: bool = False
) -> dict[str, float]:
    """`pictures_per_second` in a fresh process, which has its own TensorFlow."""
    command = [sys.executable, "-m", "benchmarks.in_process", str(version), str(seconds), *combinations]
    command += [f"--pictures={pictures}"] if pictures else []
    command += ["--network"] if network else []
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"benchmarks.in_process ended with code {done.returncode}: {done.stderr[-2000:]}")
    answer: dict[str, float] = json.loads(done.stdout)
    return answer


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.in_process", description=__doc__)
    parser.add_argument("version", help="directory of a SavedModel")
    parser.add_argument("seconds", type=float, help="length of a measurement")
    parser.add_argument("combinations", nargs="*", metavar="BATCHxTHREADS", help="default: all worth trying")
    parser.add_argument("--pictures", type=Path, help="a folder of at least 16 JPEGs; default: made ones")
    parser.add_argument("--network", action="store_true", help="give it decoded pictures of the network's size")
    return parser.parse_args()


def main() -> None:
    from benchmarks import models

    options = _arguments()
    pictures: Sequence[Picture]
    if options.network:
        pictures = [np.zeros((models.PICTURE_SIDE, models.PICTURE_SIDE, 3), np.uint8)] * 64
    elif options.pictures:
        pictures = [path.read_bytes() for path in sorted(options.pictures.glob("*.jpg"))]
    else:
        pictures = models.photos(32)
    chosen = options.combinations or COMBINATIONS
    print(json.dumps(pictures_per_second(options.version, options.seconds, chosen, pictures)))


if __name__ == "__main__":
    main()
