"""Nested JSON lists to flat arrays, whole lists at a time: what fits, not why something does not."""

from __future__ import annotations

import functools
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tensorflow.core.framework import types_pb2

from vitrine_serving.embedded.errors import ServingError
from vitrine_serving.embedded.rest.codec.parser import INFINITIES
from vitrine_serving.embedded.rest.codec.strings import is_base64_object, to_bytes

FLOATS: dict[int, Any] = {types_pb2.DT_FLOAT: np.float32, types_pb2.DT_DOUBLE: np.float64}
INTEGERS: dict[int, Any] = {
    types_pb2.DT_INT8: np.int8,
    types_pb2.DT_INT16: np.int16,
    types_pb2.DT_INT32: np.int32,
    types_pb2.DT_INT64: np.int64,
    types_pb2.DT_UINT8: np.uint8,
    types_pb2.DT_UINT32: np.uint32,
    types_pb2.DT_UINT64: np.uint64,
}
# Up to so many values, looking at each costs less than the array operations.
_FEW = 16
# Their values travel as 32-bit integers and wrap on arrival.
NARROW_INTEGERS = (types_pb2.DT_INT8, types_pb2.DT_INT16, types_pb2.DT_UINT8)


def dense_shape(value: Any) -> tuple[int, ...]:
    """The shape nested lists have by the first list at each level; it ends at a size of nothing."""
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        value = value[0] if value else None
    return tuple(shape)


def flat_array(value: Any, shape: tuple[int, ...], dtype: int) -> NDArray[Any] | None:
    """The values in C order, as the DataType `dtype`; None when the lists do not have `shape` or a value does not fit.

    Strings become bytes objects. Numbers for int8, int16 and uint8 may be any of 32 bits, and wrap.
    """
    flat: list[Any] = value if shape else [value]
    for size in shape[1:]:
        if set(map(type, flat)) != {list} or set(map(len, flat)) != {size}:
            return None
        flat = list(chain.from_iterable(flat))
    if dtype == types_pb2.DT_STRING:
        return _strings(flat)
    types = set(map(type, flat))
    if dtype in FLOATS:
        return _floats(flat, FLOATS[dtype]) if types <= {int, float} else None
    if dtype in INTEGERS:
        return _integers(flat, dtype) if types <= {int} else None
    if dtype == types_pb2.DT_BOOL:
        return np.array(flat, np.bool_) if types <= {bool} else None
    return None


def is_64_bit(number: int) -> bool:
    """Whether `number` is an integer to TensorFlow Serving's parser; larger ones are doubles."""
    return -(2**63) <= number < 2**64


@functools.cache
def largest_whole(dtype: Any) -> int:
    """The largest integer a JSON number may be for a floating point `dtype`."""
    return int(2 ** (np.finfo(dtype).nmant + 1)) - 1


def _floats(flat: list[Any], dtype: Any) -> NDArray[Any] | None:
    limit = largest_whole(dtype)
    if len(flat) <= _FEW and all(-limit <= item <= limit for item in flat):
        return np.array(flat, dtype)
    try:
        doubles = np.array(flat, np.float64)
    except OverflowError:
        return None
    sizes = np.abs(doubles)
    largest = sizes.max(initial=0)
    if not largest <= limit and any(type(item) is int and abs(item) > limit and is_64_bit(item) for item in flat):
        return None
    if not largest <= np.finfo(dtype).max:
        for index in np.flatnonzero(sizes > np.finfo(dtype).max):
            if flat[index] is not INFINITIES[0] and flat[index] is not INFINITIES[1]:
                return None
    return doubles.astype(dtype, copy=False)


def _integers(flat: list[Any], dtype: int) -> NDArray[Any] | None:
    try:
        if dtype in NARROW_INTEGERS:
            return np.array(flat, np.int32).astype(INTEGERS[dtype])
        return np.array(flat, INTEGERS[dtype])
    except OverflowError:
        return None


def _strings(flat: list[Any]) -> NDArray[Any] | None:
    if not all(isinstance(item, str) or is_base64_object(item) for item in flat):
        return None
    array = np.empty(len(flat), np.object_)
    try:
        array[:] = [to_bytes(item) for item in flat]
    except ServingError:
        return None
    return array
