"""TensorProto to numpy and back, in the typed-field form that TensorFlow Serving's clients read."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
from numpy.typing import DTypeLike, NDArray
from tensorflow.core.framework import tensor_pb2, types_pb2

from vitrine_serving.embedded.errors import Code, ServingError, invalid_argument

# A proto of a few bytes may declare any shape and have its one value repeated to fill it. No message
# is larger than this, so no honest tensor is.
MAX_TENSOR_BYTES = 2**31


class _Type(NamedTuple):
    dtype: np.dtype[Any]
    field: str
    # How the field's elements relate to the array: "value" as they are, "bits" as 16-bit patterns,
    # "packed" when the array's memory is the field's wire encoding already.
    encoding: str


def _type(dtype: DTypeLike, field: str, encoding: str = "value") -> _Type:
    return _Type(np.dtype(dtype), field, encoding)


_TYPES: dict[int, _Type] = {
    types_pb2.DT_FLOAT: _type(np.float32, "float_val", "packed"),
    types_pb2.DT_DOUBLE: _type(np.float64, "double_val", "packed"),
    types_pb2.DT_BOOL: _type(np.bool_, "bool_val", "packed"),
    types_pb2.DT_INT8: _type(np.int8, "int_val"),
    types_pb2.DT_INT16: _type(np.int16, "int_val"),
    types_pb2.DT_INT32: _type(np.int32, "int_val"),
    types_pb2.DT_INT64: _type(np.int64, "int64_val"),
    types_pb2.DT_UINT8: _type(np.uint8, "int_val"),
    types_pb2.DT_UINT16: _type(np.uint16, "int_val"),
    types_pb2.DT_UINT32: _type(np.uint32, "uint32_val"),
    types_pb2.DT_UINT64: _type(np.uint64, "uint64_val"),
    types_pb2.DT_HALF: _type(np.float16, "half_val", "bits"),
    types_pb2.DT_BFLOAT16: _type(ml_dtypes.bfloat16, "half_val", "bits"),
    types_pb2.DT_STRING: _type(np.object_, "string_val"),
}
_ENUM_OF = {kind.dtype: enum for enum, kind in _TYPES.items()}


def to_ndarray(name: str, proto: tensor_pb2.TensorProto) -> NDArray[Any]:
    """The array in `proto`; strings become an object array of bytes.

    Too few values are filled up with the last one, as TensorFlow does. `name` is the input's name, for
    the error: ServingError INVALID_ARGUMENT when the proto contradicts itself or its type is not one
    that models take.
    """
    kind = _TYPES.get(proto.dtype)
    if kind is None:
        raise _parsing_error(name, f"dtype {_enum_name(proto.dtype)} cannot be fed to a model")
    shape = tuple([dim.size for dim in proto.tensor_shape.dim])
    count = math.prod(shape)
    if proto.tensor_shape.unknown_rank or min(shape, default=0) < 0:
        raise _parsing_error(name, f"shape {list(shape)} is not fully known")
    if count * kind.dtype.itemsize > MAX_TENSOR_BYTES or len(shape) > 64:
        raise _parsing_error(name, f"shape {list(shape)} is too large; send smaller batches")

    if proto.tensor_content:
        if kind.dtype == np.object_:
            raise _parsing_error(name, "strings go into string_val, not tensor_content")
        if len(proto.tensor_content) != count * kind.dtype.itemsize:
            raise _parsing_error(
                name,
                f"tensor_content has {len(proto.tensor_content)} bytes where shape {list(shape)} of "
                f"{kind.dtype} takes {count * kind.dtype.itemsize}",
            )
        return np.frombuffer(proto.tensor_content, kind.dtype).reshape(shape)

    values = getattr(proto, kind.field)
    given = len(values)
    if given > count:
        raise _parsing_error(name, f"{given} values for shape {list(shape)}")
    flat = _from_values(name, values, given, kind)
    if given < count:
        filler = flat[-1] if given else (b"" if kind.dtype == np.object_ else 0)
        if isinstance(filler, bytes) and count * len(filler) > MAX_TENSOR_BYTES:
            raise _parsing_error(name, f"one string repeated to shape {list(shape)} is too large")
        padded = np.full(count, filler, kind.dtype)
        padded[:given] = flat
        flat = padded
    return flat.reshape(shape)


def _from_values(name: str, values: Any, given: int, kind: _Type) -> NDArray[Any]:
    try:
        if kind.dtype == np.object_:
            flat = np.empty(given, np.object_)
            flat[:] = values
            return flat
        if kind.encoding == "bits":
            return np.fromiter(values, np.uint16, given).view(kind.dtype)
        return np.fromiter(values, kind.dtype, given)
    except OverflowError as error:
        raise _parsing_error(name, f"a value does not fit {kind.dtype}") from error


def fill_proto(proto: tensor_pb2.TensorProto, array: NDArray[Any]) -> None:
    """Write `array` into an empty TensorProto, in typed fields (`float_val`, `string_val`, ...).

    Raises ServingError UNIMPLEMENTED for a dtype outside the ones requests may have.
    """
    enum = _ENUM_OF.get(array.dtype)
    if enum is None:
        raise ServingError(Code.UNIMPLEMENTED, f"the model answers with {array.dtype}, which is not supported")
    kind = _TYPES[enum]
    proto.dtype = enum
    # An empty shape is written too: it says scalar.
    proto.tensor_shape.SetInParent()
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    if not array.size:
        return
    if kind.encoding == "packed":
        # A packed field is its key, its length and the little-endian values: the array's own memory.
        # Ten times faster than a Python object for each value.
        number = tensor_pb2.TensorProto.DESCRIPTOR.fields_by_name[kind.field].number
        payload = np.ascontiguousarray(array).tobytes()
        proto.MergeFromString(_varint(number << 3 | 2) + _varint(len(payload)) + payload)
    elif kind.encoding == "bits":
        proto.half_val.extend(np.ascontiguousarray(array).view(np.uint16).ravel().tolist())
    else:
        getattr(proto, kind.field).extend(array.ravel().tolist())


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _parsing_error(name: str, reason: str) -> Exception:
    return invalid_argument(f"tensor parsing error: {name}: {reason}")


def _enum_name(dtype: int) -> str:
    return types_pb2.DataType.Name(dtype) if dtype in types_pb2.DataType.values() else str(dtype)
