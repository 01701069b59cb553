"""What a training run decides from its validation figures: when to stop, what to keep, when to slow down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from vitrine_export.recipe.sections import EarlyStopping

Weights = list[np.ndarray[Any, Any]]

_PLATEAU_EPOCHS = 3
_PLATEAU_FACTOR = 0.5


@dataclass
class Best:
    """The best epoch so far, for early stopping; `weights` are the network's after it."""

    value: float | None = None
    waited: int = 0
    weights: Weights | None = None

    def update(self, config: EarlyStopping, logs: dict[str, float], network: keras.Model) -> bool:
        """Take in an epoch; True where training should stop."""
        value = logs[config.monitor]
        sign = 1 if config.monitor == "val_accuracy" else -1
        if self.value is None or sign * value - config.min_delta > sign * self.value:
            self.value, self.waited, self.weights = value, 0, network.get_weights()
            return False
        self.waited += 1
        return self.waited >= config.patience


@dataclass
class Plateau:
    """The learning rate's factor, halved after three epochs without a lower validation loss."""

    factor: float = 1.0
    lowest: float | None = None
    waited: int = 0

    def update(self, val_loss: float) -> None:
        if self.lowest is None or val_loss < self.lowest:
            self.lowest, self.waited = val_loss, 0
            return
        self.waited += 1
        if self.waited >= _PLATEAU_EPOCHS:
            self.factor, self.waited = self.factor * _PLATEAU_FACTOR, 0
