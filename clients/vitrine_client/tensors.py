"""numpy arrays as serialized TensorProto messages.

Numbers travel as raw bytes (`tensor_content`). No loop of Python's touches them, and nothing copies them before all the
parts of a request are joined.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vitrine_client.errors import InvalidInput
from vitrine_client.wire import fields, tensor_pb2

# Each typed field's values, as numpy sees them; half floats travel as the bits of an unsigned 16-bit number.
TYPED: dict[tensor_pb2.DataType, tuple[str, type[np.generic]]] = {
    tensor_pb2.DT_FLOAT: ("float_val", np.float32),
    tensor_pb2.DT_DOUBLE: ("double_val", np.float64),
    tensor_pb2.DT_INT32: ("int_val", np.int32),
    tensor_pb2.DT_UINT8: ("int_val", np.uint8),
    tensor_pb2.DT_INT16: ("int_val", np.int16),
    tensor_pb2.DT_INT8: ("int_val", np.int8),
    tensor_pb2.DT_COMPLEX64: ("scomplex_val", np.complex64),
    tensor_pb2.DT_INT64: ("int64_val", np.int64),
    tensor_pb2.DT_BOOL: ("bool_val", np.bool_),
    tensor_pb2.DT_UINT16: ("int_val", np.uint16),
    tensor_pb2.DT_COMPLEX128: ("dcomplex_val", np.complex128),
    tensor_pb2.DT_HALF: ("half_val", np.float16),
    tensor_pb2.DT_BFLOAT16: ("half_val", np.uint16),
    tensor_pb2.DT_UINT32: ("uint32_val", np.uint32),
    tensor_pb2.DT_UINT64: ("uint64_val", np.uint64),
}
_DATA_TYPES = {
    np.dtype(numpy_type): data_type
    for data_type, (_, numpy_type) in TYPED.items()
    if data_type != tensor_pb2.DT_BFLOAT16
}
# Up to here they may be pictures, which protobuf would copy three times; beyond, its own loop is the faster one.
_FEW_STRINGS = 1000


def as_array(values: ArrayLike, name: str) -> NDArray[Any]:
    """Array-like values as an array that a tensor can hold.

    numpy arrays keep their dtype. Python numbers become float32 or int32 (int64 where they need it), TensorFlow's
    habit. `bytes` and `str` become an object array of `bytes`.

    Raises:
        InvalidInput: ragged lists or values that no tensor holds; the message begins with `name`.
    """
    leaf: Any = values
    while isinstance(leaf, (list, tuple)) and leaf:
        leaf = leaf[0]
    try:
        # numpy's own string dtypes cut trailing zero bytes off, which many an encoded picture has.
        array = np.array(values, dtype=object) if isinstance(leaf, (bytes, str)) else np.asarray(values)
    except (ValueError, TypeError) as error:
        raise InvalidInput(f"{name}: not an array ({error}): give nested lists of equal lengths") from error
    if array.dtype.kind in "SUO":
        return _as_bytes(array, name)
    if type(leaf) in (int, float, list, tuple):
        array = _narrowed(array)
    if _is_bfloat16(array.dtype):
        return array
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype not in _DATA_TYPES:
        raise InvalidInput(f"{name}: dtype {array.dtype} has no tensor type: convert it with .astype(...)")
    return array


def encode(array: NDArray[Any]) -> list[bytes | memoryview]:
    """The serialized tensor of an array that came from `as_array`, in parts, of which what is large is not copied."""
    tensor = tensor_pb2.TensorProto()
    tensor.tensor_shape.SetInParent()
    for size in array.shape:
        tensor.tensor_shape.dim.add(size=size)
    if array.dtype.kind == "O":
        tensor.dtype = tensor_pb2.DT_STRING
        values = array.ravel().tolist()
        if len(values) > _FEW_STRINGS:
            tensor.string_val.extend(values)
            return [tensor.SerializeToString()]
        parts: list[bytes | memoryview] = [tensor.SerializeToString()]
        for value in values:
            parts += (fields.prefix(tensor.STRING_VAL_FIELD_NUMBER, len(value)), value)
        return parts
    if _is_bfloat16(array.dtype):
        tensor.dtype = tensor_pb2.DT_BFLOAT16
        array = array.view(np.uint16)
    else:
        tensor.dtype = _DATA_TYPES[array.dtype]
    if not array.size:
        return [tensor.SerializeToString()]
    content = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(-1).view(np.uint8).data
    return [tensor.SerializeToString(), fields.prefix(tensor.TENSOR_CONTENT_FIELD_NUMBER, len(content)), content]


def dtype_name(data_type: tensor_pb2.DataType) -> str:
    """TensorFlow's name of a data type: "float32", "string" ..."""
    if data_type in TYPED and data_type != tensor_pb2.DT_BFLOAT16:
        return str(np.dtype(TYPED[data_type][1]).name)
    if data_type in tensor_pb2.DataType.values():
        return tensor_pb2.DataType.Name(data_type).removeprefix("DT_").lower()
    return f"data type {data_type}"


def _as_bytes(array: NDArray[Any], name: str) -> NDArray[Any]:
    try:
        flat = [value.encode() if isinstance(value, str) else value for value in array.ravel().tolist()]
    except UnicodeEncodeError as error:
        raise InvalidInput(f"{name}: a str that is no text ({error.reason}): give bytes") from error
    for value in flat:
        if not isinstance(value, bytes):
            raise InvalidInput(
                f"{name}: {type(value).__name__} among the values: give bytes or str alone, or numbers in lists of "
                "equal lengths"
            )
    result = np.empty(array.size, dtype=object)
    result[:] = flat
    return result.reshape(array.shape)


def _narrowed(array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype == np.float64:
        return array.astype(np.float32)
    if array.dtype == np.int64 and np.array_equal(array, array.astype(np.int32)):
        return array.astype(np.int32)
    return array


def _is_bfloat16(dtype: np.dtype[Any]) -> bool:
    # numpy has none of its own; the packages that add one all agree on the name.
    return dtype.name == "bfloat16"
