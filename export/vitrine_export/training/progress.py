"""What training tells on stderr while it goes on."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras
from tqdm import tqdm

from vitrine_client.tables import format_table
from vitrine_export.training.steps import Sums

# Longer networks are in the run's summary.txt.
_SHOWN_LAYERS = 24
# From then on the bar tells of the batches within the epoch too.
_LONG_EPOCH_SECONDS = 2.0
_TITLES = {"network": "training", "head": "training the head", "fine_tune": "fine-tuning"}


class Progress:
    """A bar for each stage, an epoch a unit; `quiet` shows nothing."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._bar: Any = None

    def say(self, text: str) -> None:
        if not self._quiet:
            sys.stderr.write(f"{text}\n")

    def describe(self, network: keras.Model) -> None:
        text = summary(network)
        self.say(text.rstrip() if len(network.layers) <= _SHOWN_LAYERS else text.strip().splitlines()[-1])

    def stage(self, name: str, epochs: int, done: int) -> None:
        self._bar = tqdm(
            total=epochs, initial=done, desc=_TITLES[name], unit="epoch", disable=self._quiet, dynamic_ncols=True
        )

    def batches(self, steps: int) -> Callable[[int, Sums], None]:
        """What to call with the batches done in this epoch; figures are of this worker until the epoch ends."""
        bar, started = self._bar, time.monotonic()

        def update(done: int, sums: Sums) -> None:
            if done < steps and time.monotonic() - started > _LONG_EPOCH_SECONDS:
                figures = f"loss={sums.mean_loss:.3f}, accuracy={sums.accuracy:.3f}"
                bar.set_postfix_str(f"batch {done}/{steps}, {figures}")

        return update

    def epoch(self, logs: Mapping[str, float]) -> None:
        if self._bar is not None:
            shown = {name: f"{value:.3f}" for name, value in logs.items() if name != "learning_rate"}
            self._bar.set_postfix(shown, refresh=False)
            self._bar.update()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def summary(network: keras.Model) -> str:
    """A table of the layers with their output shapes and parameters, and a last line with the totals."""
    rows = []
    for layer in network.layers:
        shape = "x".join(str(side) for side in layer.output.shape[1:])
        learning = _count(layer.trainable_weights)
        rows.append((layer.name, type(layer).__name__, shape, f"{_count(layer.weights):,}", f"{learning:,}"))
    table = format_table(("layer", "kind", "output", "parameters", "learning"), rows)
    total, learning = _count(network.weights), _count(network.trainable_weights)
    return f"{table}\n{len(rows)} layers, {total:,} parameters, {learning:,} of them learn\n"


def _count(weights: Iterable[Any]) -> int:
    return sum(math.prod(weight.shape) for weight in weights)
