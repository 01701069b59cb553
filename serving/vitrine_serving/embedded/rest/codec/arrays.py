"""Nested JSON lists to numpy arrays, by TensorFlow Serving's conversion rules."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitrine_serving.embedded.errors import invalid_argument
from vitrine_serving.embedded.inference.tensors import numpy_dtype
from vitrine_serving.embedded.rest.codec.faults import find_fault, unsupported
from vitrine_serving.embedded.rest.codec.values import dense_shape, flat_array

_MAX_RANK = 64


def to_array(value: Any, dtype: int) -> NDArray[Any]:
    """`value`, a scalar or nested lists, as an array of the DataType `dtype`.

    Strings become an object array of bytes, from JSON strings (as UTF-8) or `{"b64": ...}` objects.
    Numbers for int8, int16 and uint8 may be any of 32 bits and wrap, as they do in TensorFlow Serving.
    Raises ServingError: INVALID_ARGUMENT for ragged lists and for values of another type or out of
    range, UNIMPLEMENTED for types that have no JSON form; NumberTooBigError for a number that is none
    to TensorFlow Serving.
    """
    shape = dense_shape(value)
    if len(shape) > _MAX_RANK:
        raise find_fault(value, dtype) or invalid_argument(
            f"Encountered a list of {len(shape)} dimensions, at most {_MAX_RANK} are allowed"
        )
    array = flat_array(value, shape, dtype)
    if array is None:
        fault = find_fault(value, dtype)
        empty_dtype = numpy_dtype(dtype) if 0 in shape else None
        if fault is not None or empty_dtype is None:
            raise fault or unsupported(value, dtype)
        # What has no JSON form are a type's values, and there are none.
        return np.empty(shape, empty_dtype)
    return array.reshape(shape)
