"""Nested JSON lists to numpy arrays, by TensorFlow Serving's conversion rules."""

from __future__ import annotations

import base64
import binascii
import json
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tensorflow.core.framework import types_pb2

from vitrine_serving.embedded.errors import Code, ServingError, invalid_argument

_FLOATS: dict[int, tuple[Any, str]] = {
    types_pb2.DT_FLOAT: (np.float32, "float"),
    types_pb2.DT_DOUBLE: (np.float64, "double"),
}
_INTEGERS: dict[int, tuple[Any, str]] = {
    types_pb2.DT_INT8: (np.int8, "int8"),
    types_pb2.DT_INT16: (np.int16, "int16"),
    types_pb2.DT_INT32: (np.int32, "int32"),
    types_pb2.DT_INT64: (np.int64, "int64"),
    types_pb2.DT_UINT8: (np.uint8, "uint8"),
    types_pb2.DT_UINT32: (np.uint32, "uint32"),
    types_pb2.DT_UINT64: (np.uint64, "uint64"),
}
_MAX_RANK = 64
_MAX_QUOTED = 256


def to_array(value: Any, dtype: int) -> NDArray[Any]:
    """`value`, a scalar or nested lists, as an array of the DataType `dtype`.

    Strings become an object array of bytes, from JSON strings (as UTF-8) or `{"b64": ...}` objects.
    Raises ServingError: INVALID_ARGUMENT for ragged lists and for values of another type or out of
    range, UNIMPLEMENTED for types that have no JSON form.
    """
    flat, shape = _flatten(value)
    if dtype == types_pb2.DT_STRING:
        return _strings(flat).reshape(shape)
    if dtype in _FLOATS:
        return _floats(flat, *_FLOATS[dtype]).reshape(shape)
    if dtype in _INTEGERS:
        return _integers(flat, *_INTEGERS[dtype]).reshape(shape)
    if dtype == types_pb2.DT_BOOL:
        if not set(map(type, flat)) <= {bool}:
            raise _wrong_type(next(item for item in flat if type(item) is not bool), "bool")
        return np.array(flat, np.bool_).reshape(shape)
    name = types_pb2.DataType.Name(dtype).removeprefix("DT_").lower()
    raise ServingError(Code.UNIMPLEMENTED, f"Conversion of JSON Value: {shorten(value)} to type: {name}")


def is_base64_object(value: Any) -> bool:
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def shorten(value: Any) -> str:
    """`value` as JSON for an error message, cut to a length worth reading."""
    quoted = ""
    try:
        for piece in json.JSONEncoder(ensure_ascii=False).iterencode(value):
            quoted += piece
            if len(quoted) > _MAX_QUOTED:
                return quoted[:_MAX_QUOTED] + "..."
    except RecursionError:
        return quoted + "..."
    return quoted


def _flatten(value: Any) -> tuple[list[Any], tuple[int, ...]]:
    shape: list[int] = []
    first = value
    while isinstance(first, list):
        shape.append(len(first))
        if not first:
            break
        first = first[0]
    if len(shape) > _MAX_RANK:
        raise invalid_argument(f"Encountered a list of {len(shape)} dimensions, at most {_MAX_RANK} are allowed")
    if not shape:
        return [value], ()
    flat = value
    for level, size in enumerate(shape[1:], start=1):
        if set(map(type, flat)) != {list}:
            stray = next(item for item in flat if not isinstance(item, list))
            raise _wrong_level(stray, level, len(shape))
        if set(map(len, flat)) != {size}:
            ragged = next(len(item) for item in flat if len(item) != size)
            raise invalid_argument(
                f"Encountered list at unexpected size: {ragged} at level: {level} expected size: {size}"
            )
        flat = list(chain.from_iterable(flat))
    if list in set(map(type, flat)):
        raise invalid_argument(f"Encountered list at unexpected level: {len(shape)} expected < {len(shape)}")
    return flat, tuple(shape)


def _wrong_level(value: Any, level: int, rank: int) -> ServingError:
    return invalid_argument(
        f"JSON Value: {shorten(value)} found at incorrect level: {level + 1} in the JSON DOM. Expected at level: {rank}"
    )


def _floats(flat: list[Any], dtype: Any, name: str) -> NDArray[Any]:
    types = set(map(type, flat))
    if not types <= {int, float}:
        raise _wrong_type(next(item for item in flat if type(item) not in (int, float)), name)
    try:
        doubles = np.array(flat, np.float64)
    except OverflowError:
        raise _lossy(max((item for item in flat if type(item) is int), key=abs), name) from None
    limits = np.finfo(dtype)
    sizes = np.abs(doubles)
    # Whole numbers past the mantissa would be rounded; only those up to 64 bits count as whole.
    largest_whole = 2 ** (limits.nmant + 1) - 1
    if int in types and (sizes > largest_whole).any():
        for item in flat:
            if type(item) is int and abs(item) > largest_whole and -(2**63) <= item < 2**64:
                raise _lossy(item, name)
    too_large = (sizes > limits.max) & np.isfinite(doubles)
    if too_large.any():
        raise _lossy(flat[int(too_large.argmax())], name)
    return doubles.astype(dtype, copy=False)


def _integers(flat: list[Any], dtype: Any, name: str) -> NDArray[Any]:
    if not set(map(type, flat)) <= {int}:
        raise _wrong_type(next(item for item in flat if type(item) is not int), name)
    try:
        return np.array(flat, dtype)
    except OverflowError:
        limits = np.iinfo(dtype)
        raise _wrong_type(next(item for item in flat if not limits.min <= item <= limits.max), name) from None


def _strings(flat: list[Any]) -> NDArray[Any]:
    array = np.empty(len(flat), np.object_)
    array[:] = [_string(item) for item in flat]
    return array


def _string(value: Any) -> bytes:
    if isinstance(value, str):
        try:
            return value.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError as error:
            raise invalid_argument("JSON Parse error: The surrogate pair in string is invalid") from error
    if not isinstance(value, dict):
        raise _wrong_type(value, "string")
    if not is_base64_object(value):
        raise invalid_argument(f"JSON Value: {shorten(value)} not formatted correctly for base64 data")
    text = value["b64"]
    try:
        return _decode_base64(text)
    except (binascii.Error, ValueError):
        pass
    try:
        return _decode_base64("".join(text.split()))
    except (binascii.Error, ValueError) as error:
        raise invalid_argument("Unable to base64 decode") from error


def _decode_base64(text: str) -> bytes:
    # Padding may be left out.
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)


_JSON_TYPES = {
    type(None): "Null", dict: "Object", list: "Array", str: "String", int: "Number", float: "Number",
}  # fmt: skip


def _wrong_type(value: Any, expected: str) -> ServingError:
    kind = _JSON_TYPES.get(type(value)) or str(value)  # True and False are types of their own.
    return invalid_argument(f"JSON Value: {shorten(value)} Type: {kind} is not of expected type: {expected}")


def _lossy(value: Any, target: str) -> ServingError:
    return invalid_argument(f"Cannot convert JSON value: {shorten(value)} to {target} without loss of precision.")
