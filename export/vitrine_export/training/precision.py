"""Computing in 16 bits while training."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import keras

from vitrine_export.training.devices import has_gpu


@contextlib.contextmanager
def precision(mixed: bool) -> Iterator[None]:
    """Networks built inside compute in 16 bits where `mixed`: float16 on GPUs, elsewhere bfloat16, which CPUs have."""
    before = keras.mixed_precision.dtype_policy()
    if mixed:
        keras.mixed_precision.set_dtype_policy("mixed_float16" if has_gpu() else "mixed_bfloat16")
    try:
        yield
    finally:
        keras.mixed_precision.set_dtype_policy(before)


def in_float32(network: keras.Model) -> keras.Model:
    """The network with its weights, which are float32 anyway, computing in float32: what is evaluated and served.

    16 bits are for the speed of training on the devices at hand; whatever serves may have others.
    """
    policy = keras.DTypePolicy("float32")
    for layer in network._flatten_layers():
        layer.dtype_policy = policy
    return network
