"""TensorProto to numpy and back, against TensorFlow's own conversion."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tensorflow.core.framework import tensor_pb2

from vitrine_serving.embedded.errors import Code, ServingError
from vitrine_serving.embedded.inference.tensors import fill_proto, to_ndarray

SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
DTYPES = [
    *(np.float16, np.float32, np.float64, np.bool_, np.int8, np.int16, np.int32, np.int64),
    *(np.uint8, np.uint16, np.uint32, np.uint64),
]
ARRAYS = st.sampled_from(DTYPES).flatmap(lambda dtype: hnp.arrays(dtype, SHAPES))
STRINGS = hnp.arrays(np.object_, SHAPES, elements=st.binary())


@given(ARRAYS | STRINGS)
def test_arrays_read_the_same_in_both_forms_and_by_tensorflow(array):
    written = tensor_pb2.TensorProto()
    fill_proto(written, array)
    assert not written.tensor_content
    by_tensorflow = tf.make_tensor_proto(array, tf.string if array.dtype == np.object_ else array.dtype)
    for proto in (written, by_tensorflow):
        back = to_ndarray("x", proto)
        assert (back.dtype, back.shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(back, array)
    np.testing.assert_array_equal(tf.make_ndarray(written), array)


def test_bfloat16_too():
    array = np.array([1.5, -2], ml_dtypes.bfloat16)
    proto = tensor_pb2.TensorProto()
    fill_proto(proto, array)
    np.testing.assert_array_equal(to_ndarray("x", proto), array)
    np.testing.assert_array_equal(tf.make_ndarray(proto), array)


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
        "dtype: DT_RESOURCE",
        "dtype: 4711",
        "dtype: DT_FLOAT tensor_shape { unknown_rank: true } float_val: 1",
        "dtype: DT_FLOAT tensor_shape { dim { size: 1099511627776 } } float_val: 1",
        "dtype: DT_FLOAT tensor_shape { dim { size: 1 } } float_val: 1 float_val: 2",
        "dtype: DT_STRING tensor_shape { dim { size: 1 } } tensor_content: 'a'",
        "dtype: DT_INT8 tensor_shape { dim { size: 1 } } int_val: 300",
        "dtype: DT_STRING tensor_shape { dim { size: 268435456 } } string_val: 'seventy times as much memory'",
    ],
)
def test_protos_that_contradict_themselves_or_would_fill_the_memory(text):
    from google.protobuf import text_format

    proto = tensor_pb2.TensorProto()
    if "4711" in text:
        proto.dtype = 4711
    else:
        text_format.Parse(text, proto)
    with pytest.raises(ServingError, match="tensor parsing error: x"):
        to_ndarray("x", proto)
