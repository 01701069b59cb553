"""TensorProto to numpy and back, against TensorFlow's own conversion."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tensorflow.core.framework import tensor_pb2, types_pb2

from vitrine_serving.embedded.errors import Code, ServingError
from vitrine_serving.embedded.inference.tensors import fill_proto, to_ndarray

SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
DTYPES = [
    *(np.float16, np.float32, np.float64, np.complex64, np.complex128, np.bool_),
    *(np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64),
]
ARRAYS = st.sampled_from(DTYPES).flatmap(lambda dtype: hnp.arrays(dtype, SHAPES))
STRINGS = hnp.arrays(np.object_, SHAPES, elements=st.binary())
RARE = [
    *(tf.bfloat16, tf.qint8, tf.quint8, tf.qint16, tf.quint16, tf.qint32),
    *(tf.dtypes.experimental.int4, tf.dtypes.experimental.uint4),
    *(tf.dtypes.experimental.float8_e5m2, tf.dtypes.experimental.float8_e4m3fn),
]


@given(ARRAYS | STRINGS)
def test_arrays_read_the_same_in_all_forms_and_by_tensorflow(array):
    fields, content = tensor_pb2.TensorProto(), tensor_pb2.TensorProto()
    fill_proto(fields, array)
    fill_proto(content, array, as_content=True)
    assert not fields.tensor_content
    assert bool(content.tensor_content) == bool(array.size)
    by_tensorflow = tf.make_tensor_proto(array, tf.string if array.dtype == np.object_ else array.dtype)
    for proto in (fields, content, by_tensorflow):
        back = to_ndarray("x", proto)
        assert (back.dtype, back.shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(back, array)
    for proto in (fields, content):
        np.testing.assert_array_equal(parsed_by_tensorflow(proto), array)


@pytest.mark.parametrize("dtype", RARE)
@pytest.mark.parametrize("as_content", [False, True])
@pytest.mark.parametrize("shape", [(), (2, 3), (0, 2)])
def test_rare_types_too(dtype, as_content, shape):
    plain = np.dtype(dtype.as_numpy_dtype)
    array = np.arange(6).reshape(2, 3)[: shape[0] if shape else 1, : shape[1] if shape else 1].reshape(shape)
    array = array.astype(plain[0]).view(plain) if plain.names else array.astype(plain)
    proto = tensor_pb2.TensorProto()
    fill_proto(proto, array, as_content)
    assert proto.dtype == dtype.as_datatype_enum
    back = to_ndarray("x", proto)
    assert (back.dtype, back.shape, back.tolist()) == (array.dtype, array.shape, array.tolist())
    if dtype.size and not plain.names:
        assert parsed_by_tensorflow(proto).tolist() == array.tolist()


@pytest.mark.parametrize(
    "text",
    [
        "dtype: DT_FLOAT",
        "dtype: DT_FLOAT tensor_shape { dim { size: 2 } } float_val: 1 float_val: 2 float_val: 3",
        "dtype: DT_FLOAT tensor_shape { dim { size: 2 } } int_val: 1",
        "dtype: DT_FLOAT tensor_shape { dim { size: 3 } } float_val: 1 float_val: 2",
        "dtype: DT_FLOAT tensor_shape { dim { size: 0 } dim { size: 2 } } float_val: 1",
        "dtype: DT_FLOAT tensor_shape { dim { size: 0 } } tensor_content: 'abc'",
        "dtype: DT_INT8 tensor_shape { dim { size: 2 } } int_val: 300 int_val: -129",
        "dtype: DT_UINT8 tensor_shape { dim { size: 1 } } int_val: -1",
        "dtype: DT_HALF tensor_shape { dim { size: 3 } } half_val: 80896 half_val: 15360",
        "dtype: DT_COMPLEX64 tensor_shape { dim { size: 2 } } scomplex_val: 1 scomplex_val: 2 scomplex_val: 3",
        "dtype: DT_COMPLEX64 tensor_shape { dim { size: 1 } } scomplex_val: 1",
        "dtype: DT_STRING tensor_shape { dim { size: 2 } }",
        "dtype: DT_STRING tensor_shape { dim { size: 3 } } string_val: 'a' string_val: 'b'",
        "dtype: DT_STRING tensor_shape { dim { size: 1 } } string_val: 'a' string_val: 'b'",
        "dtype: DT_STRING tensor_shape { dim { size: 2 } } tensor_content: '\\001\\002abb'",
        "dtype: DT_BOOL tensor_shape { dim { size: 40 } } bool_val: true bool_val: false",
    ],
)
def test_what_tensorflow_accepts_means_the_same(text):
    proto = text_format.Parse(text, tensor_pb2.TensorProto())
    expected = parsed_by_tensorflow(proto)
    array = to_ndarray("x", proto)
    assert (array.dtype, array.shape, array.tolist()) == (expected.dtype, expected.shape, expected.tolist())


FIELDS = {
    "float_val": st.floats(width=32, allow_nan=False),
    "int_val": st.integers(-(2**31), 2**31 - 1),
    "half_val": st.integers(0, 0x3FFF),
    "string_val": st.binary(max_size=3),
    "scomplex_val": st.floats(width=32, allow_nan=False),
    "uint64_val": st.integers(0, 2**64 - 1),
}
FIELD_TYPES = [tf.float32, tf.int8, tf.uint16, tf.int32, tf.half, tf.string, tf.complex64, tf.uint64]


@given(st.data(), st.sampled_from(FIELD_TYPES), st.lists(st.integers(-1, 3), max_size=3))
def test_any_mixture_of_shape_and_values_is_taken_or_refused_as_by_tensorflow(data, dtype, shape):
    proto = tensor_pb2.TensorProto(dtype=dtype.as_datatype_enum)
    proto.tensor_shape.SetInParent()
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    for field in data.draw(st.sets(st.sampled_from(sorted(FIELDS)), max_size=2)):
        getattr(proto, field).extend(data.draw(st.lists(FIELDS[field], max_size=6)))
    proto.tensor_content = data.draw(st.just(b"") | st.binary(max_size=8))
    try:
        expected = parsed_by_tensorflow(proto)
    except tf.errors.InvalidArgumentError:
        with pytest.raises(ServingError, match="tensor parsing error: x"):
            to_ndarray("x", proto)
        return
    array = to_ndarray("x", proto)
    assert (array.dtype, array.shape) == (expected.dtype, expected.shape)
    np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize("values", [33, 5000])
def test_long_fields_with_more_or_fewer_values_than_the_shape(values):
    for dtype in (np.float32, np.complex128, np.bool_, np.int64):
        proto = tensor_pb2.TensorProto()
        fill_proto(proto, np.arange(values).astype(dtype))
        for size in (values - 1, values + 2):
            proto.tensor_shape.dim[0].size = size
            array, expected = to_ndarray("x", proto), parsed_by_tensorflow(proto)
            np.testing.assert_array_equal(array, expected)


@given(st.binary())
def test_any_bytes_are_an_array_or_refused(data):
    try:
        proto = tensor_pb2.TensorProto.FromString(data)
    except Exception:
        return
    try:
        assert isinstance(to_ndarray("x", proto), np.ndarray)
    except ServingError as error:
        assert error.code is Code.INVALID_ARGUMENT
        assert error.message.startswith("tensor parsing error: x: ")


@pytest.mark.parametrize(
    "text",
    [
        "dtype: DT_INVALID",
        "dtype: DT_RESOURCE",
        "dtype: DT_FLOAT_REF float_val: 1",
        "dtype: 4711",
        "dtype: DT_FLOAT tensor_shape { unknown_rank: true } float_val: 1",
        "dtype: DT_FLOAT tensor_shape { dim { size: -1 } } float_val: 1",
        "dtype: DT_FLOAT tensor_shape { dim { size: 1099511627776 } } float_val: 1",
        "dtype: DT_FLOAT tensor_shape { dim { size: 0 } dim { size: 4611686018427387904 } }",
        "dtype: DT_FLOAT tensor_shape { dim { size: 1 } } tensor_content: 'abc'",
        "dtype: DT_STRING tensor_shape { dim { size: 1 } } tensor_content: '\\002a'",
        "dtype: DT_STRING tensor_shape { dim { size: 1 } } tensor_content: '\\001ab'",
        "dtype: DT_STRING tensor_shape { dim { size: 1 } } tensor_content: '\\377'",
        "dtype: DT_STRING tensor_shape { dim { size: 100000000 } } tensor_content: 'a'",
        "dtype: DT_STRING tensor_shape { dim { size: 268435456 } } string_val: 'seventy times as much memory'",
    ],
)
def test_protos_that_contradict_themselves_or_would_fill_the_memory(text):
    proto = tensor_pb2.TensorProto()
    if "4711" in text:
        proto.dtype = 4711
    else:
        text_format.Parse(text, proto)
    with pytest.raises(ServingError, match="tensor parsing error: x") as raised:
        to_ndarray("x", proto)
    assert raised.value.code is Code.INVALID_ARGUMENT


def parsed_by_tensorflow(proto):
    """What TensorFlow's own C++ makes of a TensorProto."""
    dtype = tf.as_dtype(proto.dtype)
    array = tf.io.parse_tensor(proto.SerializeToString(), dtype).numpy()
    return np.asarray(array, np.object_ if dtype == tf.string else None)


@pytest.mark.parametrize(
    ("dtype", "sizes"),
    [("DT_FLOAT", [2] * 100_000), ("DT_FLOAT", [150_000_000]), ("DT_STRING", [20_000_000])],
)
def test_a_small_message_that_declares_a_huge_tensor_is_refused(dtype, sizes):
    proto = tensor_pb2.TensorProto(dtype=types_pb2.DataType.Value(dtype))
    for size in sizes:
        proto.tensor_shape.dim.add(size=size)
    with pytest.raises(ServingError, match="tensor parsing error: x") as raised:
        to_ndarray("x", proto)
    assert len(raised.value.message) < 1000
