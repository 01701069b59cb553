"""Networks taken through their graphs anew."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras


def run_anew(network: keras.Model, call: Callable[..., Any]) -> keras.Model:
    """The network that comes of `call(layer, *arguments, **named)` in place of each layer's call, in their order.

    A layer may be part of other graphs as well, as in a head that was trained by itself: what its attributes tell of
    inputs and outputs may be of those. The layers themselves are those of `network`.
    """
    return keras.models.clone_model(network, clone_function=lambda layer: layer, call_function=call)
