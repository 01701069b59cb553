"""numpy arrays from serialized TensorProto messages.

Raw bytes (`tensor_content`) and typed fields are both read, and so is TensorFlow's compact form, in which fewer values
than the shape asks for mean that the last one is repeated. The values are copied once, and no loop of Python's touches
them.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from vitrine_client.errors import BadResponse
from vitrine_client.tensors import TYPED, dtype_name
from vitrine_client.wire import fields, tensor_pb2

# The types of those fields whose numbers take as many bytes each as they need.
_VARINTS = {
    "half_val": np.int32,
    "int_val": np.int32,
    "int64_val": np.int64,
    "bool_val": np.bool_,
    "uint32_val": np.uint32,
    "uint64_val": np.uint64,
}
# Types whose field holds no number that they do not.
_AS_THEY_ARE = frozenset(
    {
        tensor_pb2.DT_FLOAT,
        tensor_pb2.DT_DOUBLE,
        tensor_pb2.DT_INT32,
        tensor_pb2.DT_INT64,
        tensor_pb2.DT_BOOL,
        tensor_pb2.DT_UINT32,
        tensor_pb2.DT_UINT64,
    }
)
# Fields of a tensor by tag, as senders write them.
_TAGS = {
    tensor_pb2.TensorProto.DESCRIPTOR.fields_by_name[name].number << 3 | wire_type: name
    for wire_type, names in {
        0: ("dtype", "version_number"),
        2: ("tensor_shape", "tensor_content", *(field for field, _ in TYPED.values())),
    }.items()
    for name in names
}
# No message is larger than this, so no tensor may claim to be: a compact one could otherwise ask for any memory.
_MAX_BYTES = 2**31

# What a tensor of strings begins with; these protobuf reads as fast as can be.
_STRINGS_FOLLOW = bytes([tensor_pb2.TensorProto.DTYPE_FIELD_NUMBER << 3, tensor_pb2.DT_STRING])

# A tensor's numbers as they were sent, by field.
_Values = Mapping[str, "bytes | memoryview"]


def decode(content: bytes | memoryview, name: str) -> NDArray[Any]:
    """The array of a serialized tensor, writable. Strings give an object array of `bytes`, bfloat16 gives float32.

    Raises:
        BadResponse: the tensor contradicts itself or has a type that no array holds; the message begins with `name`.
    """
    try:
        return _array(*_opened(content), name)
    except DecodeError as error:
        raise BadResponse(f"{name}: not a TensorProto message: {error}") from error


def decode_message(tensor: tensor_pb2.TensorProto, name: str) -> NDArray[Any]:
    """What `decode` makes of a tensor that has been parsed already; the quicker way for a handful of values."""
    if tensor.dtype == tensor_pb2.DT_STRING:
        return _array(tensor, {"tensor_content": tensor.tensor_content}, name)
    if tensor.dtype in _AS_THEY_ARE and not tensor.tensor_content:
        field, numpy_type = TYPED[tensor.dtype]
        values = np.array(getattr(tensor, field)[:], np.dtype(numpy_type).newbyteorder("<"))
        return _array(tensor, {"tensor_content": values.tobytes()}, name)
    return decode(tensor.SerializeToString(), name)


def _array(head: tensor_pb2.TensorProto, values: _Values, name: str) -> NDArray[Any]:
    shape = tuple([dim.size for dim in head.tensor_shape.dim])
    if head.tensor_shape.unknown_rank or min(shape, default=0) < 0:
        raise BadResponse(f"{name}: a tensor without a full shape")
    size = math.prod(shape)
    if head.dtype != tensor_pb2.DT_STRING and head.dtype not in TYPED:
        raise BadResponse(f"{name}: tensors of {dtype_name(head.dtype)} cannot be read")
    try:
        if head.dtype == tensor_pb2.DT_STRING:
            _refuse_oversize(size * np.dtype(object).itemsize, shape, name)
            return _strings(head, values, size, name).reshape(shape)
        _refuse_oversize(size * np.dtype(TYPED[head.dtype][1]).itemsize, shape, name)
        array = _filled(_numbers(head.dtype, values), size, name).reshape(shape)
    except (ValueError, OverflowError) as error:
        # The values are no numbers of this type, or the shape has more dimensions than an array can have.
        raise BadResponse(f"{name}: a broken tensor of {dtype_name(head.dtype)}: {error}") from error
    if head.dtype == tensor_pb2.DT_BFLOAT16:
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array


def _opened(content: bytes | memoryview) -> tuple[tensor_pb2.TensorProto, _Values]:
    """A tensor without its numbers, and these as they were sent. Raises DecodeError."""
    if content[:2] != _STRINGS_FOLLOW:
        with contextlib.suppress(KeyError, ValueError):
            return _split(content)
    # Strings, or a form that is legal but written by no server. Protobuf brings it into the usual one.
    tensor = tensor_pb2.TensorProto.FromString(bytes(content))
    if tensor.dtype not in TYPED:
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
    field, numpy_type = TYPED[data_type]
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
            length, position = fields.read_varint(content, position)
            lengths.append(length)
    except IndexError:
        raise BadResponse(f"{name}: a string tensor whose content ends too early") from None
    if position + sum(lengths) != len(content):
        raise BadResponse(f"{name}: a string tensor whose lengths do not add up to its content")
    ends = np.cumsum([position, *lengths]).tolist()
    return [content[start:end] for start, end in pairwise(ends)]


def _refuse_oversize(size: int, shape: tuple[int, ...], name: str) -> None:
    if size > _MAX_BYTES:
        raise BadResponse(f"{name}: a tensor of shape {shape} is larger than any message can be")
