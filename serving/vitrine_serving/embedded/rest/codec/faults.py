"""Why a JSON value is not a tensor: the first fault in it, in TensorFlow Serving's words.

The values of a refused request are walked here; those of a good one never are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import numpy as np
from tensorflow.core.framework import types_pb2

from vitrine_serving.embedded.errors import Code, ServingError, invalid_argument
from vitrine_serving.embedded.rest.codec.parser import INFINITIES, NumberTooBigError
from vitrine_serving.embedded.rest.codec.quotes import quote
from vitrine_serving.embedded.rest.codec.strings import is_base64_object, to_bytes
from vitrine_serving.embedded.rest.codec.values import (
    FLOATS,
    INTEGERS,
    NARROW_INTEGERS,
    dense_shape,
    flat_array,
    is_64_bit,
    largest_whole,
)

# Lists longer than this are searched for the block of this size that has a fault.
_BLOCK = 1024

_JSON_TYPES = {
    type(None): "Null", dict: "Object", list: "Array", str: "String", int: "Number", float: "Number",
}  # fmt: skip


def find_fault(value: Any, dtype: int) -> ServingError | None:
    """The first fault that keeps `value`, a scalar or nested lists, from being a tensor of the DataType `dtype`.

    Raises NumberTooBigError for a number that is none to TensorFlow Serving.
    """
    shape = dense_shape(value)
    rank = len(shape)
    lists: list[Iterator[Any]] = [iter((value,))]
    while lists:
        level = len(lists) - 1
        for item in lists[-1]:
            if not isinstance(item, list):
                fault = _leaf_fault(item, dtype) if level == rank else _wrong_level(item, level, rank)
            elif level >= rank:
                fault = invalid_argument(f"Encountered list at unexpected level: {level} expected < {rank}")
            elif len(item) != shape[level]:
                fault = invalid_argument(
                    f"Encountered list at unexpected size: {len(item)} at level: {level} expected size: {shape[level]}"
                )
            else:
                lists.append(_suspects(item, shape[level + 1 :], dtype))
                break
            if fault is not None:
                return fault
        else:
            lists.pop()
    return None


def first_suspect(items: list[Any], is_good: Callable[[list[Any]], bool]) -> int:
    """How many of `items` may be passed over in the search for a fault; `is_good` judges blocks of them."""
    if len(items) > _BLOCK:
        for start in range(0, len(items), _BLOCK):
            if not is_good(items[start : start + _BLOCK]):
                return start
        return len(items)
    return 0


def _suspects(items: list[Any], shape: tuple[int, ...], dtype: int) -> Iterator[Any]:
    start = first_suspect(items, lambda block: flat_array(block, (len(block), *shape), dtype) is not None)
    return islice(items, start, None)


def json_type(value: Any) -> str:
    """What error messages call the type of `value`; True and False are types of their own."""
    return "Object" if isinstance(value, dict) else _JSON_TYPES.get(type(value)) or str(value)


def float_fault(value: float, dtype: int) -> ServingError | None:
    """What keeps a JSON number from being a DT_FLOAT or DT_DOUBLE without loss; raises NumberTooBigError."""
    if isinstance(value, int) and is_64_bit(value):
        is_lossless = abs(value) <= largest_whole(FLOATS[dtype])
    else:
        try:
            value = float(value)
        except OverflowError:
            raise NumberTooBigError from None
        if math.isinf(value):
            if value is not INFINITIES[0] and value is not INFINITIES[1]:
                raise NumberTooBigError
            return None
        is_lossless = math.isnan(value) or abs(value) <= float(np.finfo(FLOATS[dtype]).max)
    if is_lossless:
        return None
    return invalid_argument(f"Cannot convert JSON value: {quote(value)} to {_name(dtype)} without loss of precision.")


def unsupported(value: Any, dtype: int) -> ServingError:
    """The error for a DataType that has no JSON form."""
    return ServingError(Code.UNIMPLEMENTED, f"Conversion of JSON Value: {quote(value)} to type: {_name(dtype)}")


def _leaf_fault(value: Any, dtype: int) -> ServingError | None:
    if dtype == types_pb2.DT_STRING:
        return _string_fault(value)
    if isinstance(value, dict):
        return _wrong_type(value, dtype)
    if dtype in FLOATS:
        return float_fault(value, dtype) if type(value) in (int, float) else _wrong_type(value, dtype)
    if dtype in INTEGERS:
        limits = np.iinfo(np.int32 if dtype in NARROW_INTEGERS else INTEGERS[dtype])
        return None if type(value) is int and limits.min <= value <= limits.max else _wrong_type(value, dtype)
    if dtype == types_pb2.DT_BOOL:
        return None if type(value) is bool else _wrong_type(value, dtype)
    return unsupported(value, dtype)


def _string_fault(value: Any) -> ServingError | None:
    if not isinstance(value, (str, dict)):
        return _wrong_type(value, types_pb2.DT_STRING)
    if isinstance(value, dict) and not is_base64_object(value):
        return invalid_argument(f"JSON Value: {quote(value)} not formatted correctly for base64 data")
    try:
        to_bytes(value)
    except ServingError as fault:
        return fault
    return None


def _wrong_level(value: Any, level: int, rank: int) -> ServingError:
    return invalid_argument(
        f"JSON Value: {quote(value)} found at incorrect level: {level + 1} in the JSON DOM. Expected at level: {rank}"
    )


def _wrong_type(value: Any, dtype: int) -> ServingError:
    return invalid_argument(
        f"JSON Value: {quote(value)} Type: {json_type(value)} is not of expected type: {_name(dtype)}"
    )


def _name(dtype: int) -> str:
    return types_pb2.DataType.Name(dtype).removeprefix("DT_").lower()
