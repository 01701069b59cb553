"""Turns XLA's just-in-time compiler off, as TensorFlow Serving does unless a flag asks for it."""

from __future__ import annotations

import ctypes
from pathlib import Path

import tensorflow as tf

# `void tensorflow::DisableXlaCompilation()`. TensorFlow has no Python name, flag or variable for it.
_DISABLE = "_ZN10tensorflow21DisableXlaCompilationEv"


def disable_compilation() -> bool:
    """From now on a signature with `jit_compile=True` fails with INTERNAL `XLA compilation disabled`.

    Holds for the whole process and for good. False where this build of TensorFlow does not let us.
    """
    for library in sorted(Path(tf.__file__).parent.glob("libtensorflow_cc*")):
        try:
            disable = getattr(ctypes.CDLL(str(library)), _DISABLE)
        except (OSError, AttributeError):
            continue
        disable()
        return True
    return False
