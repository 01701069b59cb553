"""Arrays and the typed fields of tensors that hold their numbers."""

from __future__ import annotations

import numpy as np

FIELDS = {
    "float16": "half_val",
    "float32": "float_val",
    "float64": "double_val",
    "int8": "int_val",
    "int16": "int_val",
    "int32": "int_val",
    "int64": "int64_val",
    "uint8": "int_val",
    "uint16": "int_val",
    "uint32": "uint32_val",
    "uint64": "uint64_val",
    "bool": "bool_val",
    "complex64": "scomplex_val",
    "complex128": "dcomplex_val",
}


def numbers_of(array: np.ndarray) -> list[int | float | bool]:
    """The numbers of an array in order, as its typed field holds them: float16 as bits, complex ones in pairs."""
    flat = array.ravel()
    if array.dtype == np.float16:
        flat = flat.view(np.uint16)
    if array.dtype.kind == "c":
        flat = flat.view(flat.real.dtype)
    return flat.tolist()


def assert_same(left: np.ndarray, right: np.ndarray) -> None:
    assert (left.dtype, left.shape) == (right.dtype, right.shape)
    np.testing.assert_array_equal(left, right)
