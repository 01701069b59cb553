"""The short decimals of float32 values, for whole arrays at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# As many significant digits as TensorFlow Serving tries first, and as many as always bring a float32 back.
_FEWEST_DIGITS, _MOST_DIGITS = 6, 9
# Powers of ten up to this one are exact as doubles.
_POWERS = np.array([float(10**power) for power in range(23)])
_MAX_POWER = len(_POWERS) - 1
# Below this many values, printing each costs less than the array operations.
_FEW = 64


def shortest_doubles(array: NDArray[np.float32]) -> NDArray[np.float64]:
    """Doubles that print as the short decimal of each float32: 0.2 and not 0.20000000298023224.

    Printed with `repr` and read back as float32 the values are unchanged. Same shape as `array`.
    """
    if array.size < _FEW:
        return np.array([float(str(value)) for value in array.ravel()], np.float64).reshape(array.shape)
    exact = array.astype(np.float64)
    short = exact.copy()
    pending = np.isfinite(array) & (array != 0)
    exponents = np.zeros(array.shape, np.int64)
    exponents[pending] = np.floor(np.log10(np.abs(exact[pending])))
    # The very small and the very large, whose powers of ten are not exact, are printed one by one.
    extreme = pending & ((exponents < _MOST_DIGITS - 1 - _MAX_POWER) | (exponents > _FEWEST_DIGITS - 1 + _MAX_POWER))
    short[extreme] = [float(str(value)) for value in array[extreme]]
    pending &= ~extreme
    for digits in range(_FEWEST_DIGITS, _MOST_DIGITS + 1):
        if not pending.any():
            break
        powers = digits - 1 - exponents
        scale = _POWERS[np.clip(powers, 0, _MAX_POWER)]
        unscale = _POWERS[np.clip(-powers, 0, _MAX_POWER)]
        # A whole number divided by an exact power of ten is the double nearest to that decimal.
        rounded = np.rint(exact * scale / unscale) * unscale / scale
        with np.errstate(over="ignore"):
            found = pending & (rounded.astype(np.float32) == array)
        short[found] = rounded[found]
        pending &= ~found
    return short
