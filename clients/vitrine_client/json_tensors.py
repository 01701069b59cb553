"""numpy arrays and REST's JSON, into each other. Bytes are `{"b64": ...}`; NaN and Infinity are written bare."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitrine_client.errors import BadResponse, InvalidInput
from vitrine_client.results import TensorInfo


def to_json(array: NDArray[Any], name: str) -> Any:
    """An array that came from `tensors.as_array` as nested lists.

    Raises:
        InvalidInput: complex numbers, which have no JSON.
    """
    if array.dtype.kind == "c":
        raise InvalidInput(f"{name}: complex numbers have no JSON: use gRPC")
    if array.dtype.kind != "O":
        return array.tolist()
    wrapped = np.empty(array.size, dtype=object)
    wrapped[:] = [{"b64": base64.b64encode(value).decode("ascii")} for value in array.ravel().tolist()]
    return wrapped.reshape(array.shape).tolist()


def from_json(value: Any, info: TensorInfo, name: str) -> NDArray[Any]:
    """Nested lists as the array that gRPC would have given for an output of this dtype and shape.

    Raises:
        BadResponse: ragged lists or values of another type; the message begins with `name`.
    """
    try:
        array = _strings(value) if info.dtype == "string" else np.array(value, dtype=_numpy_name(info.dtype))
    except (ValueError, TypeError, OverflowError) as error:
        raise BadResponse(f"{name}: not an array of {info.dtype}: {error}") from error
    if not array.size and info.shape is not None and array.ndim < len(info.shape):
        # Of an empty array, JSON shows the outer sizes only.
        array = array.reshape(array.shape + tuple(size or 0 for size in info.shape[array.ndim :]))
    return array


def _numpy_name(dtype: str) -> str:
    return "float32" if dtype == "bfloat16" else dtype


def _strings(value: Any) -> NDArray[Any]:
    array = np.array(value, dtype=object)
    result = np.empty(array.size, dtype=object)
    result[:] = [_bytes(string) for string in array.ravel().tolist()]
    return result.reshape(array.shape)


def _bytes(value: object) -> bytes:
    if isinstance(value, str):
        # Bytes that are no UTF-8 arrive as they are, and were read as lone surrogates.
        return value.encode("utf-8", "surrogateescape")
    if isinstance(value, dict) and isinstance(encoded := value.get("b64"), str):
        try:
            return base64.b64decode(encoded, validate=True)
        except binascii.Error as error:
            raise ValueError(f"broken base64: {error}") from error
    raise TypeError(f"{type(value).__name__} where a string belongs")
