"""Arrays and tensors, checked against TensorFlow's own conversions."""

from __future__ import annotations

import hypothesis.extra.numpy as arrays_of
import numpy as np
import pytest
import tensorflow as tf
from client_tensors import FIELDS, assert_same, numbers_of
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow.core.framework import tensor_pb2 as official

from vitrine_client import BadResponse, InvalidInput
from vitrine_client.tensor_reading import decode, decode_message
from vitrine_client.tensors import as_array, dtype_name, encode
from vitrine_client.wire import tensor_pb2

numeric = st.sampled_from(sorted(FIELDS)).flatmap(
    lambda dtype: arrays_of.arrays(dtype, arrays_of.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
)
strings = st.lists(st.binary(max_size=300), max_size=5)


def sent(array: np.ndarray) -> official.TensorProto:
    return official.TensorProto.FromString(b"".join(encode(array)))


def decoded(tensor: official.TensorProto | tensor_pb2.TensorProto) -> np.ndarray:
    return read(tensor.SerializeToString(), "x")


def read(content: bytes, name: str) -> np.ndarray:
    """What both ways of reading a tensor make of it."""
    array = decode(content, name)
    again = decode_message(tensor_pb2.TensorProto.FromString(bytes(content)), name)
    assert_same(again, array)
    assert again.flags.writeable
    return array


def typed(array: np.ndarray) -> tensor_pb2.TensorProto:
    """The tensor with its values in the typed field, as a server sends it by default."""
    tensor = tensor_pb2.TensorProto(dtype=tf.as_dtype(array.dtype).as_datatype_enum)
    for size in array.shape:
        tensor.tensor_shape.dim.add(size=size)
    getattr(tensor, FIELDS[array.dtype.name]).extend(numbers_of(array))
    return tensor


@settings(deadline=None)
@given(numeric)
def test_tensorflow_reads_what_we_encode(array: np.ndarray):
    read = tf.make_ndarray(sent(as_array(array, "x")))
    assert read.dtype == array.dtype
    np.testing.assert_array_equal(read, array)


@settings(deadline=None)
@given(numeric)
def test_content_comes_back(array: np.ndarray):
    assert_same(decoded(tf.make_tensor_proto(array)), array)
    assert_same(decoded(sent(array)), array)


@settings(deadline=None)
@given(numeric)
def test_typed_fields_come_back(array: np.ndarray):
    tensor = typed(array)
    assert_same(decoded(tensor), array)
    # TensorFlow's runtime agrees; its Python decoder repeats values differently and is no judge.
    parsed = tf.io.parse_tensor(tensor.SerializeToString(), tf.as_dtype(array.dtype)).numpy()
    np.testing.assert_array_equal(parsed, array)


@pytest.mark.parametrize("dtype", sorted(FIELDS))
@pytest.mark.parametrize("given_values", [0, 1, 2])
def test_missing_values_repeat_the_last_one(dtype: str, given_values: int):
    values = np.array([1, 0, 0, 0, 0, 0][:given_values], dtype)
    tensor = typed(values)
    del tensor.tensor_shape.dim[:]
    for size in (2, 3):
        tensor.tensor_shape.dim.add(size=size)
    expected = tf.io.parse_tensor(tensor.SerializeToString(), tf.as_dtype(dtype)).numpy()
    assert_same(decoded(tensor), expected)


@settings(deadline=None)
@given(strings)
def test_strings_come_back(values: list[bytes]):
    array = as_array(np.array(values, dtype=object), "x")
    assert array.tolist() == values
    assert tf.make_ndarray(sent(array)).tolist() == values
    assert decoded(tf.make_tensor_proto(values, tf.string, (len(values),))).tolist() == values


@settings(deadline=None)
@given(strings)
def test_strings_as_content_come_back(values: list[bytes]):
    tensor = tensor_pb2.TensorProto(dtype=tensor_pb2.DT_STRING)
    tensor.tensor_shape.dim.add(size=len(values))
    tensor.tensor_content = b"".join(map(varint, map(len, values))) + b"".join(values)
    assert tf.io.parse_tensor(tensor.SerializeToString(), tf.string).numpy().tolist() == values
    assert decoded(tensor).tolist() == values


def test_missing_strings_repeat_the_last_one():
    tensor = tensor_pb2.TensorProto(dtype=tensor_pb2.DT_STRING, string_val=[b"a", b"b"])
    tensor.tensor_shape.dim.add(size=4)
    assert decoded(tensor).tolist() == [b"a", b"b", b"b", b"b"]
    assert tf.io.parse_tensor(tensor.SerializeToString(), tf.string).numpy().tolist() == [b"a", b"b", b"b", b"b"]


@pytest.mark.parametrize("form", ["content", "typed"])
def test_bfloat16_becomes_float32(form: str):
    values = tf.constant([[1.5, -2.0], [np.inf, 3.140625]], tf.bfloat16)
    tensor = official.TensorProto.FromString(tf.make_tensor_proto(values.numpy()).SerializeToString())
    if form == "typed":
        content = np.frombuffer(tensor.tensor_content, np.uint16) if tensor.tensor_content else tensor.half_val
        tensor.half_val[:] = [int(bits) for bits in content]
        tensor.tensor_content = b""
    assert_same(decoded(tensor), tf.cast(values, tf.float32).numpy())


def test_bfloat16_arrays_keep_their_type():
    values = tf.constant([[1.5, -2.0], [np.inf, 3.140625]], tf.bfloat16).numpy()
    tensor = sent(as_array(values[:, ::-1], "x"))
    assert tensor == tf.make_tensor_proto(np.ascontiguousarray(values[:, ::-1]))
    assert sent(as_array(values[0, 0], "x")).tensor_shape.dim[:] == []
    assert sent(as_array(list(values[0]), "x")).dtype == tensor.dtype


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24, dtype=np.float32).reshape(2, 3, 4)[:, ::2, ::-1],
        np.asfortranarray(np.arange(6, dtype=np.int16).reshape(2, 3)),
        np.broadcast_to(np.float64(0.5), (2, 3)),
        np.array([1.5, -2], ">f4"),
        np.frombuffer(b"read only", np.uint8),
    ],
    ids=["strided", "Fortran", "broadcast", "big-endian", "read only"],
)
def test_arrays_of_any_layout_are_sent_in_order(array: np.ndarray):
    np.testing.assert_array_equal(tf.make_ndarray(sent(as_array(array, "x"))), array)


def test_decoded_arrays_can_be_written_to():
    for array in (np.zeros(3, np.float32), np.ones((2, 2), np.int64)):
        for tensor in (sent(array), typed(array)):
            decoded(tensor)[0] = 7


def test_a_scalar_has_a_known_shape():
    assert decoded(tf.make_tensor_proto(3.5)).shape == ()
    assert not sent(as_array(3, "x")).tensor_shape.unknown_rank


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([1, 2], "int32"),
        ([2**40], "int64"),
        ([[1.5]], "float32"),
        ([], "float32"),
        ([True], "bool"),
        (3, "int32"),
        (np.array([1.5]), "float64"),
        ([np.float64(1.5)], "float64"),
        ([np.array([1.5])], "float64"),
        (["é", b"\x00\x00"], "object"),
        (np.array([b"ab", b"c"]), "object"),
        (np.array([1.5], ">f4"), "float32"),
    ],
)
def test_array_likes_get_the_dtype_of_tensorflow(values: object, dtype: str):
    assert as_array(values, "x").dtype == dtype


def test_trailing_zero_bytes_survive():
    assert as_array([b"picture\x00\x00"], "x").tolist() == [b"picture\x00\x00"]
    assert as_array(["é"], "x").tolist() == ["é".encode()]


@pytest.mark.parametrize(
    "values",
    [[[1], [2, 3]], [b"a", 1], [["a"], ["b", "c"]], [None], [{}], np.array(["2020-01-01"], "datetime64[D]"), [2**70]],
)
def test_values_that_no_tensor_holds_are_refused_by_name(values: object):
    with pytest.raises(InvalidInput, match=r"^inputs\['x'\]: .*: (give|convert)"):
        as_array(values, "inputs['x']")


@pytest.mark.parametrize(
    "tensor",
    [
        tensor_pb2.TensorProto(dtype=tensor_pb2.DT_FLOAT, float_val=[1, 2]),
        tensor_pb2.TensorProto(dtype=tensor_pb2.DT_FLOAT, tensor_content=b"12345"),
        tensor_pb2.TensorProto(dtype=tensor_pb2.DT_UINT8, int_val=[300]),
        tensor_pb2.TensorProto(dtype=tensor_pb2.DT_STRING, string_val=[b"a", b"b"]),
        tensor_pb2.TensorProto(dtype=tensor_pb2.DT_STRING, tensor_content=b"\x05a"),
        tensor_pb2.TensorProto(dtype=tensor_pb2.DT_STRING, tensor_content=b"\xff"),
        tensor_pb2.TensorProto(dtype=tensor_pb2.DT_RESOURCE),
        tensor_pb2.TensorProto(),
        tensor_pb2.TensorProto(dtype=tensor_pb2.DT_FLOAT, tensor_shape=tensor_pb2.TensorShapeProto(unknown_rank=True)),
        tensor_pb2.TensorProto(
            dtype=tensor_pb2.DT_FLOAT,
            tensor_shape=tensor_pb2.TensorShapeProto(dim=[tensor_pb2.TensorShapeProto.Dim(size=-1)]),
        ),
        tensor_pb2.TensorProto(
            dtype=tensor_pb2.DT_FLOAT,
            float_val=[0],
            tensor_shape=tensor_pb2.TensorShapeProto(dim=[tensor_pb2.TensorShapeProto.Dim(size=2**40)]),
        ),
        tensor_pb2.TensorProto(
            dtype=tensor_pb2.DT_FLOAT,
            tensor_shape=tensor_pb2.TensorShapeProto(dim=[tensor_pb2.TensorShapeProto.Dim(size=1)] * 70),
        ),
        tensor_pb2.TensorProto(
            dtype=tensor_pb2.DT_STRING,
            tensor_shape=tensor_pb2.TensorShapeProto(
                dim=[tensor_pb2.TensorShapeProto.Dim(size=size) for size in (0, 2**62, 2**62)]
            ),
        ),
    ],
    ids=lambda tensor: str(tensor).replace("\n", " ")[:60],
)
def test_contradictory_tensors_are_bad_responses_by_name(tensor: tensor_pb2.TensorProto):
    with pytest.raises(BadResponse, match=r"^outputs\['x'\]: "):
        read(tensor.SerializeToString(), "outputs['x']")


def test_dtype_names_are_tensorflows():
    for name, number in tensor_pb2.DataType.items():
        if name != "DT_INVALID":
            assert dtype_name(number) == tf.as_dtype(number).name
    assert dtype_name(99) == "data type 99"


def varint(number: int) -> bytes:
    return bytes([number & 0x7F | 0x80]) + varint(number >> 7) if number > 0x7F else bytes([number])
