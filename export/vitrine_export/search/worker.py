"""A process that trains trials, one after the other: python -m vitrine_export.search.worker INDEX CACHE THREADS

Orders come on standard input, one JSON object a line: {"recipe": ..., "metric": ...} for each trial, {"go_on": ...}
after each of its epochs. Answers go to standard output: {"ready": true}, then {"value": ..., "memory": bytes} after
each epoch and {"state": ..., "curve": [...], "seconds": ..., "reason": ...} at the end of a trial.
"""

from __future__ import annotations

import gc
import json
import os
import queue
import resource
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import tensorflow as tf

from vitrine_export.datasets.index import DatasetIndex
from vitrine_export.errors import ExportError
from vitrine_export.preprocessing import Preprocessing
from vitrine_export.recipe import Recipe
from vitrine_export.training import fit


def main() -> None:
    index_file, cache, threads = sys.argv[1:]
    # Libraries print to standard output when they please; what they say belongs into the log.
    answers = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)
    tf.config.threading.set_intra_op_parallelism_threads(int(threads))
    tf.config.threading.set_inter_op_parallelism_threads(int(threads))
    index = DatasetIndex.from_json(Path(index_file).read_text(encoding="utf-8"))
    orders = _orders()

    def ask(message: dict[str, Any]) -> bool:
        _send(answers, message)
        return bool(orders.get()["go_on"])

    _send(answers, {"ready": True})
    while True:
        order = orders.get()
        _send(answers, _trial(order["recipe"], order["metric"], index, Path(cache), ask))


def _orders() -> queue.Queue[dict[str, Any]]:
    """What comes on standard input. When that closes, whoever gave orders is dead, and so is this process."""
    orders: queue.Queue[dict[str, Any]] = queue.Queue()

    def read() -> None:
        for line in sys.stdin:
            orders.put(json.loads(line))
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    return orders


def _send(answers: TextIO, message: dict[str, Any]) -> None:
    try:
        answers.write(json.dumps(message) + "\n")
    except BrokenPipeError:
        os._exit(0)


def _trial(
    raw: dict[str, Any], metric: str, index: DatasetIndex, cache: Path, ask: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    begun = time.monotonic()
    watch = _Watch(metric, ask)
    state, reason = "complete", ""
    try:
        recipe = Recipe.model_validate_json(json.dumps(raw))
        fit(recipe, index, Preprocessing(recipe.pipeline), cache=cache, callbacks=[watch], quiet=True)
    except _Pruned as pruned:
        state, reason = "pruned", str(pruned)
    except ExportError as error:
        state, reason = "failed", str(error)
    except Exception as error:
        # One combination that nobody thought of must not cost the night's other trials.
        traceback.print_exc()
        state, reason = "failed", f"training failed: {type(error).__name__}: {error}"
    # Or each trial's network would stay in memory until the last.
    keras.backend.clear_session()
    gc.collect()
    return {"state": state, "reason": reason, "curve": watch.curve, "seconds": time.monotonic() - begun}


class _Pruned(Exception):
    """Ends a training from inside; its text says why."""


class _Watch(keras.callbacks.Callback):
    """Tells of every epoch, and ends the trial where the answer is not to go on."""

    def __init__(self, metric: str, ask: Callable[[dict[str, Any]], bool]) -> None:
        super().__init__()
        self._metric = metric
        self._ask = ask
        self.curve: list[float] = []
        """The metric after each epoch, over all stages of training."""

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        value = float((logs or {})[self._metric])
        self.curve.append(value)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        if not self._ask({"value": value, "memory": memory}):
            raise _Pruned(f"behind the others after epoch {len(self.curve)}")


if __name__ == "__main__":
    main()
