"""numpy arrays and TensorProto messages, into each other.

Numbers travel as raw bytes (`tensor_content`) on the way out. On the way in, raw bytes and typed fields are both read,
and so is TensorFlow's compact form, in which fewer values than the shape asks for mean that the last one is repeated.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vitrine_client.errors import BadResponse, InvalidInput
from vitrine_client.wire import tensor_pb2

# Each typed field's values, as numpy sees them; half floats travel as the bits of an unsigned 16-bit number.
_TYPED: dict[tensor_pb2.DataType, tuple[str, type[np.generic]]] = {
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
_PACKED_FIELDS = frozenset(field.name for field in tensor_pb2.PackedTensorProto.DESCRIPTOR.fields)
_DATA_TYPES = {
    np.dtype(numpy_type): data_type
    for data_type, (_, numpy_type) in _TYPED.items()
    if data_type != tensor_pb2.DT_BFLOAT16
}
# No message is larger than this, so no tensor may claim to be: a compact one could otherwise ask for any memory.
_MAX_BYTES = 2**31


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
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype not in _DATA_TYPES:
        raise InvalidInput(f"{name}: dtype {array.dtype} has no tensor type: convert it with .astype(...)")
    return array


def encode(array: NDArray[Any]) -> tensor_pb2.TensorProto:
    """The tensor of an array that came from `as_array`."""
    tensor = tensor_pb2.TensorProto()
    tensor.tensor_shape.SetInParent()
    for size in array.shape:
        tensor.tensor_shape.dim.add(size=size)
    if array.dtype.kind == "O":
        tensor.dtype = tensor_pb2.DT_STRING
        tensor.string_val.extend(array.ravel().tolist())
    else:
        tensor.dtype = _DATA_TYPES[array.dtype]
        tensor.tensor_content = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
    return tensor


def decode(tensor: tensor_pb2.TensorProto, name: str) -> NDArray[Any]:
    """The array of a tensor, writable. Strings give an object array of `bytes`, bfloat16 gives float32.

    Raises:
        BadResponse: the tensor contradicts itself or has a type that no array holds; the message begins with `name`.
    """
    shape = tuple(dim.size for dim in tensor.tensor_shape.dim)
    if tensor.tensor_shape.unknown_rank or any(size < 0 for size in shape):
        raise BadResponse(f"{name}: a tensor without a full shape")
    size = math.prod(shape)
    if tensor.dtype == tensor_pb2.DT_STRING:
        _refuse_oversize(size * np.dtype(object).itemsize, shape, name)
        return _strings(tensor, size, name).reshape(shape)
    if tensor.dtype not in _TYPED:
        raise BadResponse(f"{name}: tensors of {dtype_name(tensor.dtype)} cannot be read")
    _refuse_oversize(size * np.dtype(_TYPED[tensor.dtype][1]).itemsize, shape, name)
    values = _filled(_numbers(tensor, name), size, name).reshape(shape)
    if tensor.dtype == tensor_pb2.DT_BFLOAT16:
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values


def dtype_name(data_type: tensor_pb2.DataType) -> str:
    """TensorFlow's name of a data type: "float32", "string" ..."""
    if data_type in _TYPED and data_type != tensor_pb2.DT_BFLOAT16:
        return str(np.dtype(_TYPED[data_type][1]).name)
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


def _numbers(tensor: tensor_pb2.TensorProto, name: str) -> NDArray[Any]:
    field, numpy_type = _TYPED[tensor.dtype]
    dtype = np.dtype(numpy_type)
    try:
        if tensor.tensor_content:
            return np.frombuffer(tensor.tensor_content, dtype.newbyteorder("<")).astype(dtype)
        if field in _PACKED_FIELDS:
            packed = tensor_pb2.PackedTensorProto.FromString(tensor.SerializeToString())
            return np.frombuffer(getattr(packed, field), dtype.newbyteorder("<")).astype(dtype)
        if field == "half_val":
            return np.array(tensor.half_val[:], dtype=np.uint16).view(dtype)
        return np.array(getattr(tensor, field)[:], dtype=dtype)
    except (ValueError, OverflowError) as error:
        raise BadResponse(f"{name}: a tensor of {dtype_name(tensor.dtype)} with broken values: {error}") from error


def _filled(values: NDArray[Any], size: int, name: str) -> NDArray[Any]:
    if len(values) > size:
        raise BadResponse(f"{name}: a tensor with {len(values)} values where its shape asks for {size}")
    if len(values) == size:
        return values
    last = values[-1] if len(values) else values.dtype.type(0)
    return np.concatenate([values, np.full(size - len(values), last, dtype=values.dtype)])


def _strings(tensor: tensor_pb2.TensorProto, size: int, name: str) -> NDArray[Any]:
    values = _split(tensor.tensor_content, size, name) if tensor.tensor_content else list(tensor.string_val)
    if len(values) > size:
        raise BadResponse(f"{name}: a tensor with {len(values)} strings where its shape asks for {size}")
    result = np.empty(size, dtype=object)
    result[: len(values)] = values
    result[len(values) :] = values[-1] if values else b""
    return result


def _split(content: bytes, count: int, name: str) -> list[bytes]:
    """Strings as raw content: all their lengths as varints, then all their bytes."""
    lengths, position = [], 0
    try:
        for _ in range(count):
            length = shift = 0
            while content[position] & 0x80:
                length |= (content[position] & 0x7F) << shift
                position, shift = position + 1, shift + 7
            lengths.append(length | content[position] << shift)
            position += 1
    except IndexError:
        raise BadResponse(f"{name}: a string tensor whose content ends too early") from None
    if position + sum(lengths) != len(content):
        raise BadResponse(f"{name}: a string tensor whose lengths do not add up to its content")
    ends = np.cumsum([position, *lengths]).tolist()
    return [content[start:end] for start, end in pairwise(ends)]


def _refuse_oversize(size: int, shape: tuple[int, ...], name: str) -> None:
    if size > _MAX_BYTES:
        raise BadResponse(f"{name}: a tensor of shape {shape} is larger than any message can be")
