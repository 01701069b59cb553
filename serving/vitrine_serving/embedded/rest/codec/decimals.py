"""Floating point numbers as TensorFlow Serving writes them, for whole arrays at once.

Six significant digits where they bring the number back, else as many as always do; `.0` after whole ones.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SHORT_DIGITS = 6
_SHORT_WHOLE = 10.0**_SHORT_DIGITS
_FULL_DIGITS: dict[Any, int] = {np.float32: 9, np.float64: 17}
# Powers of ten up to this one are exact as doubles.
_POWERS = np.array([float(10**power) for power in range(23)])
_MAX_POWER = len(_POWERS) - 1
# Below this many values, printing each costs less than the array operations.
_FEW = 32


def decimals(values: NDArray[Any]) -> list[str]:
    """The float32 or float64 `values`, of any shape, as JSON texts in C order; NaN and infinities as bare words."""
    dtype = values.dtype.type
    values = values.ravel()
    if values.size < _FEW:
        return [decimal(value, dtype) for value in values.tolist()]
    exact = values.astype(np.float64)
    is_short = _is_short(values, exact)
    full_digits = _FULL_DIGITS[dtype]
    is_whole = (np.abs(exact) < np.where(is_short, _SHORT_WHOLE, 10.0**full_digits)) & (exact == np.rint(exact))
    formats = np.array(["%g", f"%.{full_digits}g", "%.1f"], object)[np.where(is_whole, 2, ~is_short)]
    texts = ("\n".join(formats) % tuple(exact.tolist())).split("\n")
    for index in np.flatnonzero(~np.isfinite(exact)):
        texts[index] = decimal(float(exact[index]))
    return texts


def decimal(value: float, dtype: Any = np.float64) -> str:
    """One value of `dtype`, float32 or float64."""
    if value.is_integer() and -_SHORT_WHOLE < value < _SHORT_WHOLE:
        return f"{value:.1f}"
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    text = f"{value:g}"
    if dtype(text) != value:
        text = f"{value:.{_FULL_DIGITS[dtype]}g}"
    return text if "." in text or "e" in text else f"{text}.0"


def _is_short(values: NDArray[Any], exact: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which values six digits bring back; `exact` is `values` as doubles."""
    is_short = exact == 0
    ordinary = np.isfinite(exact) & ~is_short
    exponents = np.zeros(exact.shape, np.int64)
    exponents[ordinary] = np.floor(np.log10(np.abs(exact[ordinary])))
    powers = _SHORT_DIGITS - 1 - exponents
    extreme = ordinary & (np.abs(powers) > _MAX_POWER)
    ordinary &= ~extreme
    scale = _POWERS[np.clip(powers, 0, _MAX_POWER)]
    unscale = _POWERS[np.clip(-powers, 0, _MAX_POWER)]
    # A whole number times or by an exact power of ten is the double nearest to that decimal.
    with np.errstate(over="ignore", invalid="ignore"):
        rounded = np.rint(exact * scale / unscale) * unscale / scale
        is_short |= ordinary & (rounded.astype(values.dtype) == values)
    dtype = values.dtype.type
    for index in np.flatnonzero(extreme):
        is_short[index] = dtype(f"{exact[index]:g}") == values[index]
    return is_short
