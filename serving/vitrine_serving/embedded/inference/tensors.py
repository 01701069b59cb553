"""TensorProto to numpy and back, accepting and writing what TensorFlow's own conversion does."""

from __future__ import annotations

import enum
import math
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
from numpy.typing import DTypeLike, NDArray
from tensorflow.core.framework import tensor_pb2, types_pb2

from vitrine_serving.embedded.errors import Code, ServingError, invalid_argument
from vitrine_serving.embedded.inference.wire import (
    append_packed_field,
    decode_strings,
    encode_strings,
    packed_field,
)

# A proto of a few bytes may declare any shape and have its one value repeated to fill it. No message
# is larger than this, so no honest tensor is.
MAX_TENSOR_BYTES = 2**31
# What a small message may grow to by repeating a part of itself.
MAX_REPEATED_BYTES = 2**28
_STRING_BYTES = 64
# numpy's limit.
_MAX_RANK = 64

# Below this many values, reading them one by one is quicker than taking the message apart.
_FEW = 32


class _Encoding(enum.Enum):
    """How the elements of a typed field relate to the array's."""

    VALUES = enum.auto()
    # The array's memory is the field's wire encoding; a complex number is two values.
    PACKED = enum.auto()
    # 16-bit patterns kept in 32-bit integers.
    BITS = enum.auto()
    # One byte string for the whole array.
    OCTETS = enum.auto()
    STRINGS = enum.auto()


class _Type(NamedTuple):
    dtype: np.dtype[Any]
    # The dtype of a quantized type's integers, else the same.
    plain: np.dtype[Any]
    field: str
    number: int
    encoding: _Encoding


def _type(dtype: DTypeLike, field: str, encoding: _Encoding = _Encoding.VALUES) -> _Type:
    resolved: np.dtype[Any] = np.dtype(dtype)
    number = tensor_pb2.TensorProto.DESCRIPTOR.fields_by_name[field].number
    return _Type(resolved, resolved[0] if resolved.names else resolved, field, number, encoding)


# Quantized types are one-field records in TensorFlow's Python, told apart by the field's name.
_TYPES: dict[int, _Type] = {
    types_pb2.DT_FLOAT: _type(np.float32, "float_val", _Encoding.PACKED),
    types_pb2.DT_DOUBLE: _type(np.float64, "double_val", _Encoding.PACKED),
    types_pb2.DT_BOOL: _type(np.bool_, "bool_val", _Encoding.PACKED),
    types_pb2.DT_COMPLEX64: _type(np.complex64, "scomplex_val", _Encoding.PACKED),
    types_pb2.DT_COMPLEX128: _type(np.complex128, "dcomplex_val", _Encoding.PACKED),
    types_pb2.DT_INT4: _type(ml_dtypes.int4, "int_val"),
    types_pb2.DT_UINT4: _type(ml_dtypes.uint4, "int_val"),
    types_pb2.DT_INT8: _type(np.int8, "int_val"),
    types_pb2.DT_INT16: _type(np.int16, "int_val"),
    types_pb2.DT_INT32: _type(np.int32, "int_val"),
    types_pb2.DT_INT64: _type(np.int64, "int64_val"),
    types_pb2.DT_UINT8: _type(np.uint8, "int_val"),
    types_pb2.DT_UINT16: _type(np.uint16, "int_val"),
    types_pb2.DT_UINT32: _type(np.uint32, "uint32_val"),
    types_pb2.DT_UINT64: _type(np.uint64, "uint64_val"),
    types_pb2.DT_QINT8: _type([("qint8", np.int8)], "int_val"),
    types_pb2.DT_QUINT8: _type([("quint8", np.uint8)], "int_val"),
    types_pb2.DT_QINT16: _type([("qint16", np.int16)], "int_val"),
    types_pb2.DT_QUINT16: _type([("quint16", np.uint16)], "int_val"),
    types_pb2.DT_QINT32: _type([("qint32", np.int32)], "int_val"),
    types_pb2.DT_HALF: _type(np.float16, "half_val", _Encoding.BITS),
    types_pb2.DT_BFLOAT16: _type(ml_dtypes.bfloat16, "half_val", _Encoding.BITS),
    types_pb2.DT_FLOAT8_E5M2: _type(ml_dtypes.float8_e5m2, "float8_val", _Encoding.OCTETS),
    types_pb2.DT_FLOAT8_E4M3FN: _type(ml_dtypes.float8_e4m3fn, "float8_val", _Encoding.OCTETS),
    types_pb2.DT_STRING: _type(np.object_, "string_val", _Encoding.STRINGS),
}
_ENUM_OF = {kind.dtype: number for number, kind in _TYPES.items()}


def to_ndarray(name: str, proto: tensor_pb2.TensorProto) -> NDArray[Any]:
    """The array in `proto`; strings become an object array of bytes.

    As in TensorFlow, missing values repeat the last one, values beyond the shape are dropped, integers
    wrap to their type, and an empty tensor needs no values. `name` is the input's name, for the error:
    ServingError INVALID_ARGUMENT when shape, type or `tensor_content` are not a tensor's.
    """
    kind = _TYPES.get(proto.dtype)
    if kind is None:
        raise _parsing_error(name, f"dtype {_enum_name(proto.dtype)} cannot be fed to a model")
    shape = tuple([dim.size for dim in proto.tensor_shape.dim])
    if proto.tensor_shape.unknown_rank or (shape and min(shape) < 0):
        raise _parsing_error(name, f"shape {list(shape[:_MAX_RANK])} is not fully known")
    if len(shape) > _MAX_RANK:
        raise _parsing_error(name, f"its {len(shape)} dimensions are more than {_MAX_RANK}")
    count = math.prod(shape)
    # A string is an object here and another in TensorFlow, empty or not.
    if count * (kind.dtype.itemsize if kind.dtype != np.object_ else _STRING_BYTES) > MAX_TENSOR_BYTES:
        raise _parsing_error(name, f"shape {list(shape)} is too large; send smaller batches")
    if not count:
        try:
            return np.empty(shape, kind.dtype)
        except ValueError as error:
            raise _parsing_error(name, f"shape {list(shape)} is too large") from error
    if proto.tensor_content:
        return _from_content(name, proto.tensor_content, shape, count, kind)
    flat = _from_field(proto, count, kind)
    if len(flat) < count:
        flat = _filled_up(name, flat, shape, count)
    return flat.view(kind.dtype).reshape(shape) if kind.plain is not kind.dtype else flat.reshape(shape)


def fill_proto(proto: tensor_pb2.TensorProto, array: NDArray[Any], as_content: bool = False) -> None:
    """Write `array` into an empty TensorProto: in typed fields, or in `tensor_content` if `as_content`.

    Raises ServingError UNIMPLEMENTED for a dtype outside the ones requests may have.
    """
    number = _ENUM_OF.get(array.dtype)
    if number is None:
        raise ServingError(Code.UNIMPLEMENTED, f"the model answers with {array.dtype}, which is not supported")
    kind = _TYPES[number]
    proto.dtype = number
    # An empty shape is written too: it says scalar.
    proto.tensor_shape.SetInParent()
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    if not array.size:
        return
    if kind.encoding is _Encoding.STRINGS:
        if as_content:
            proto.tensor_content = encode_strings(array.ravel().tolist())
        else:
            proto.string_val.extend(array.ravel().tolist())
    elif as_content:
        proto.tensor_content = array.tobytes()
    elif kind.encoding is _Encoding.PACKED:
        append_packed_field(proto, kind.number, array.tobytes())
    elif kind.encoding is _Encoding.OCTETS:
        proto.float8_val = array.tobytes()
    elif kind.encoding is _Encoding.BITS:
        proto.half_val.extend(np.frombuffer(array.tobytes(), np.uint16).tolist())
    else:
        getattr(proto, kind.field).extend(np.frombuffer(array.tobytes(), kind.plain).tolist())


def numpy_dtype(number: int) -> np.dtype[Any] | None:
    """The dtype of arrays of the DataType `number`; None for one that cannot be fed to a model."""
    kind = _TYPES.get(number)
    return kind.dtype if kind is not None else None


def type_name(dtype: np.dtype[Any]) -> str:
    """What TensorFlow's errors call a dtype: `float`, `int64`, `string`."""
    number = _ENUM_OF.get(dtype)
    return dtype.name if number is None else _enum_name(number).removeprefix("DT_").lower()


def _from_content(name: str, content: bytes, shape: tuple[int, ...], count: int, kind: _Type) -> NDArray[Any]:
    if kind.encoding is _Encoding.STRINGS:
        try:
            return _string_array(decode_strings(content, count)).reshape(shape)
        except ValueError as error:
            raise _parsing_error(name, f"tensor_content: {error}") from error
    if len(content) != count * kind.dtype.itemsize:
        raise _parsing_error(
            name,
            f"tensor_content has {len(content)} bytes where shape {list(shape)} of {kind.dtype} takes "
            f"{count * kind.dtype.itemsize}",
        )
    return np.frombuffer(content, kind.dtype).reshape(shape)


def _from_field(proto: tensor_pb2.TensorProto, count: int, kind: _Type) -> NDArray[Any]:
    """The first `count` values of the typed field, or as many as there are, flat, of the plain dtype."""
    values = getattr(proto, kind.field)
    given = len(values)
    if kind.encoding is _Encoding.STRINGS:
        return _string_array(values if given <= count else values[:count])
    if kind.encoding is _Encoding.OCTETS:
        return np.frombuffer(values, kind.dtype)[:count]
    if kind.encoding is _Encoding.BITS:
        return np.fromiter(values, np.int32, min(given, count)).astype(np.uint16).view(kind.dtype)
    if kind.encoding is _Encoding.PACKED:
        if given > _FEW:
            payload = packed_field(proto, kind.number)
            return np.frombuffer(payload, kind.dtype, len(payload) // kind.dtype.itemsize)[:count]
        if kind.dtype.kind == "c":
            # An odd value left over is no complex number.
            pairs = np.fromiter(values, f"f{kind.dtype.itemsize // 2}", given - given % 2)
            return pairs.view(kind.dtype)[:count]
    elif kind.field == "int_val":
        return np.fromiter(values, np.int32, min(given, count)).astype(kind.plain)
    return np.fromiter(values, kind.plain, min(given, count))


def _filled_up(name: str, flat: NDArray[Any], shape: tuple[int, ...], count: int) -> NDArray[Any]:
    """`flat` continued with its last value, or with zeros when it has none."""
    strings = flat.dtype == np.object_
    filler = flat[-1] if len(flat) else (b"" if strings else np.zeros((), flat.dtype))
    if count * (len(filler) + _STRING_BYTES if strings else flat.dtype.itemsize) > MAX_REPEATED_BYTES:
        raise _parsing_error(name, f"one value repeated to shape {list(shape)} is too large; send all of them")
    filled = np.full(count, filler, flat.dtype)
    filled[: len(flat)] = flat
    return filled


def _string_array(strings: Any) -> NDArray[Any]:
    array = np.empty(len(strings), np.object_)
    array[:] = strings
    return array


def _parsing_error(name: str, reason: str) -> ServingError:
    return invalid_argument(f"tensor parsing error: {name}: {reason}")


def _enum_name(number: int) -> str:
    return types_pb2.DataType.Name(number) if number in types_pb2.DataType.values() else str(number)
