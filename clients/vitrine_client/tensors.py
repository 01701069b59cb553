"""numpy arrays and serialized TensorProto messages, into each other.

Numbers travel as raw bytes (`tensor_content`) on the way out. On the way in, raw bytes and typed fields are both read,
and so is TensorFlow's compact form, in which fewer values than the shape asks for mean that the last one is repeated.
Either way the values are copied once, and no loop of Python's touches them.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import ArrayLike, NDArray

from vitrine_client.errors import BadResponse, InvalidInput
from vitrine_client.wire import fields, tensor_pb2

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
# The types of those fields whose numbers take as many bytes each as they need.
_VARINTS = {
    "half_val": np.int32,
    "int_val": np.int32,
    "int64_val": np.int64,
    "bool_val": np.bool_,
    "uint32_val": np.uint32,
    "uint64_val": np.uint64,
}
_DATA_TYPES = {
    np.dtype(numpy_type): data_type
    for data_type, (_, numpy_type) in _TYPED.items()
    if data_type != tensor_pb2.DT_BFLOAT16
}
# Fields of a tensor by tag, as senders write them.
_TAGS = {
    tensor_pb2.TensorProto.DESCRIPTOR.fields_by_name[name].number << 3 | wire_type: name
    for wire_type, names in {
        0: ("dtype", "version_number"),
        2: ("tensor_shape", "tensor_content", *(field for field, _ in _TYPED.values())),
    }.items()
    for name in names
}
# No message is larger than this, so no tensor may claim to be: a compact one could otherwise ask for any memory.
_MAX_BYTES = 2**31

# Up to here they may be pictures, which protobuf would copy three times; beyond, its own loop is the faster one.
_FEW_STRINGS = 1000

# What a tensor of strings begins with; these protobuf reads as fast as can be.
_STRINGS_FOLLOW = bytes([tensor_pb2.TensorProto.DTYPE_FIELD_NUMBER << 3, tensor_pb2.DT_STRING])

# A tensor's numbers as they were sent, by field.
_Values = Mapping[str, "bytes | memoryview"]


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


def decode(content: bytes | memoryview, name: str) -> NDArray[Any]:
    """The array of a serialized tensor, writable. Strings give an object array of `bytes`, bfloat16 gives float32.

    Raises:
        BadResponse: the tensor contradicts itself or has a type that no array holds; the message begins with `name`.
    """
    try:
        head, values = _opened(content)
    except DecodeError as error:
        raise BadResponse(f"{name}: not a TensorProto message: {error}") from error
    shape = tuple([dim.size for dim in head.tensor_shape.dim])
    if head.tensor_shape.unknown_rank or min(shape, default=0) < 0:
        raise BadResponse(f"{name}: a tensor without a full shape")
    size = math.prod(shape)
    if head.dtype != tensor_pb2.DT_STRING and head.dtype not in _TYPED:
        raise BadResponse(f"{name}: tensors of {dtype_name(head.dtype)} cannot be read")
    try:
        if head.dtype == tensor_pb2.DT_STRING:
            _refuse_oversize(size * np.dtype(object).itemsize, shape, name)
            return _strings(head, values, size, name).reshape(shape)
        _refuse_oversize(size * np.dtype(_TYPED[head.dtype][1]).itemsize, shape, name)
        array = _filled(_numbers(head.dtype, values), size, name).reshape(shape)
    except (ValueError, OverflowError) as error:
        # The values are no numbers of this type, or the shape has more dimensions than an array can have.
        raise BadResponse(f"{name}: a broken tensor of {dtype_name(head.dtype)}: {error}") from error
    if head.dtype == tensor_pb2.DT_BFLOAT16:
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array


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


def _is_bfloat16(dtype: np.dtype[Any]) -> bool:
    # numpy has none of its own; the packages that add one all agree on the name.
    return dtype.name == "bfloat16"


def _opened(content: bytes | memoryview) -> tuple[tensor_pb2.TensorProto, _Values]:
    """A tensor without its numbers, and these as they were sent. Raises DecodeError."""
    if content[:2] != _STRINGS_FOLLOW:
        with contextlib.suppress(KeyError, ValueError):
            return _split(content)
    # Strings, or a form that is legal but written by no server. Protobuf brings it into the usual one.
    tensor = tensor_pb2.TensorProto.FromString(bytes(content))
    if tensor.dtype not in _TYPED:
        return tensor, {"tensor_content": tensor.tensor_content}
    tensor.DiscardUnknownFields()
    tensor.ClearField("string_val")
    return _split(tensor.SerializeToString())


def _split(content: bytes | memoryview) -> tuple[tensor_pb2.TensorProto, _Values]:
    """Raises KeyError or ValueError where fields are not as senders usually write them."""
    found: dict[str, list[Any]] = {}
    for tag, value in fields.split(memoryview(content)):
        found.setdefault(_TAGS[tag], []).append(value)
    if len(found.get("tensor_content", [])) > 1:
        raise ValueError("tensor_content, twice")
    head = tensor_pb2.TensorProto(dtype=found.pop("dtype", [0])[-1])
    head.tensor_shape.MergeFromString(b"".join(found.pop("tensor_shape", [])))
    # A packed field may come in several chunks.
    return head, {name: parts[0] if len(parts) == 1 else b"".join(parts) for name, parts in found.items()}


def _numbers(data_type: tensor_pb2.DataType, values: _Values) -> NDArray[Any]:
    """Raises ValueError for numbers that are cut off or that the type does not hold."""
    field, numpy_type = _TYPED[data_type]
    dtype = np.dtype(numpy_type)
    if content := values.get("tensor_content"):
        # Through bytes, because any but 0 and 1 would make an odd bool.
        sent = np.dtype(np.uint8) if dtype == np.bool_ else dtype.newbyteorder("<")
        return np.frombuffer(content, sent).astype(dtype)
    packed = values.get(field, b"")
    if field not in _VARINTS:
        return np.frombuffer(packed, dtype.newbyteorder("<")).astype(dtype)
    numbers: NDArray[Any] = fields.varints(packed).astype(_VARINTS[field])
    if field == "half_val":
        return _narrowed_to(np.dtype(np.uint16), numbers).view(dtype)
    return _narrowed_to(dtype, numbers)


def _narrowed_to(dtype: np.dtype[Any], numbers: NDArray[Any]) -> NDArray[Any]:
    if numbers.dtype == dtype:
        return numbers
    limits = np.iinfo(dtype)
    if numbers.size and not limits.min <= numbers.min() <= numbers.max() <= limits.max:
        raise ValueError(f"numbers from {numbers.min()} to {numbers.max()}")
    return numbers.astype(dtype)


def _filled(values: NDArray[Any], size: int, name: str) -> NDArray[Any]:
    if len(values) > size:
        raise BadResponse(f"{name}: a tensor with {len(values)} values where its shape asks for {size}")
    if len(values) == size:
        return values
    last = values[-1] if len(values) else values.dtype.type(0)
    return np.concatenate([values, np.full(size - len(values), last, dtype=values.dtype)])


def _strings(head: tensor_pb2.TensorProto, sent: _Values, size: int, name: str) -> NDArray[Any]:
    content = sent.get("tensor_content")
    values = _split_strings(bytes(content), size, name) if content else list(head.string_val)
    if len(values) > size:
        raise BadResponse(f"{name}: a tensor with {len(values)} strings where its shape asks for {size}")
    result = np.empty(size, dtype=object)
    result[: len(values)] = values
    result[len(values) :] = values[-1] if values else b""
    return result


def _split_strings(content: bytes, count: int, name: str) -> list[bytes]:
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
