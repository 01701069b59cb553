"""Tensors in every form that the wire format allows, and broken ones, judged by the official messages."""

from __future__ import annotations

import hypothesis.extra.numpy as arrays_of
import numpy as np
import pytest
import tensorflow as tf
from client_tensors import FIELDS, assert_same, numbers_of
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tensorflow.core.framework import tensor_pb2 as official

from vitrine_client import BadResponse
from vitrine_client.tensor_reading import decode
from vitrine_client.wire import tensor_pb2

numeric = st.sampled_from(sorted(FIELDS)).flatmap(
    lambda dtype: arrays_of.arrays(dtype, st.integers(min_value=0, max_value=12))
)


def unpacking_sender() -> type[Message]:
    """TensorProto as a sender knows it that packs no fields, which the wire format allows."""
    file = descriptor_pb2.FileDescriptorProto()
    tensor_pb2.DESCRIPTOR.CopyToProto(file)
    [tensor] = [message for message in file.message_type if message.name == "TensorProto"]
    for field in tensor.field:
        if field.options.packed:
            field.options.packed = False
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("vitrine.wire.TensorProto"))


Unpacked = unpacking_sender()


def head(array: np.ndarray) -> bytes:
    tensor = official.TensorProto(dtype=tf.as_dtype(array.dtype).as_datatype_enum)
    for size in array.shape:
        tensor.tensor_shape.dim.add(size=size)
    return tensor.SerializeToString()


def values(array: np.ndarray, sender: type[Message] = official.TensorProto) -> bytes:
    """The numbers of an array in their typed field, alone."""
    tensor = sender()
    getattr(tensor, FIELDS[array.dtype.name]).extend(numbers_of(array))
    return tensor.SerializeToString()


@settings(deadline=None)
@given(numeric, st.data())
def test_chunks_of_a_packed_field_come_back(array: np.ndarray, data: st.DataObject):
    middle = data.draw(st.integers(min_value=0, max_value=len(array)))
    before = data.draw(st.booleans())
    chunks = values(array[:middle]) + values(array[middle:])
    assert_same(decode(chunks + head(array) if before else head(array) + chunks, "x"), array)


@settings(deadline=None)
@given(numeric, st.data())
def test_numbers_sent_one_by_one_come_back(array: np.ndarray, data: st.DataObject):
    middle = data.draw(st.integers(min_value=0, max_value=len(array)))
    assert_same(decode(head(array) + values(array, Unpacked), "x"), array)
    assert_same(decode(head(array) + values(array[:middle]) + values(array[middle:], Unpacked), "x"), array)


@settings(deadline=None)
@given(numeric)
def test_fields_from_the_future_are_passed_over(array: np.ndarray):
    # Numbers 1000 and 1001, a length-delimited one and one of eight bytes.
    unknown = b"\xc2\x3e\x03abc" + b"\xc9\x3e" + bytes(8)
    assert_same(decode(unknown + head(array) + unknown + values(array) + unknown, "x"), array)


def test_of_content_that_comes_twice_the_last_counts():
    array = np.array([1, 2], np.float32)
    content = tf.make_tensor_proto(array).SerializeToString()
    content += tensor_pb2.TensorProto(tensor_content=(-array).tobytes()).SerializeToString()
    np.testing.assert_array_equal(tf.make_ndarray(official.TensorProto.FromString(content)), -array)
    assert_same(decode(content, "x"), -array)


@settings(deadline=None)
@given(arrays_of.arrays(np.int64, st.integers(min_value=1, max_value=12)))
def test_numbers_are_cut_to_their_field_as_protobuf_cuts_them(array: np.ndarray):
    packed = tensor_pb2.TensorProto(int64_val=array.tolist()).SerializeToString()
    # The same numbers in int_val and uint32_val, whose tags are 0x3a and 0x82 0x01; int64_val's is 0x52.
    assert packed[0] == 0x52
    for tag, dtype in ((b"\x3a", np.int32), (b"\x82\x01", np.uint32)):
        content = tag + packed[1:]
        read = official.TensorProto.FromString(content)
        expected = list(read.int_val) + list(read.uint32_val)
        assert decode(head(array.astype(dtype)) + content, "x").tolist() == expected


@settings(deadline=None)
@given(numeric.filter(len), st.data())
def test_what_ends_too_early_is_a_bad_response(array: np.ndarray, data: st.DataObject):
    content = tf.make_tensor_proto(array).SerializeToString() if data.draw(st.booleans()) else head(array)
    content += values(array) if data.draw(st.booleans()) else b""
    cut = content[: data.draw(st.integers(min_value=0, max_value=len(content) - 1))]
    try:
        official.TensorProto.FromString(cut)
    except DecodeError:
        with pytest.raises(BadResponse, match=r"^x: "):
            decode(cut, "x")
    else:
        assert_read_alike(cut)


def test_a_length_of_megabytes_is_no_long_work():
    text = tensor_pb2.TensorProto(dtype=tensor_pb2.DT_STRING, tensor_content=b"\xff" * 2_000_000)
    text.tensor_shape.dim.add(size=1)
    with pytest.raises(BadResponse, match=r"^x: "):
        decode(text.SerializeToString(), "x")


@settings(deadline=None)
@given(st.binary(max_size=40))
@example(b"\x3a\x01\x80")  # a number without an end
@example(b"\x3a\x0b" + b"\xff" * 10 + b"\x01")  # a number of 71 bits
@example(b"\x08" + b"\xff" * 10 + b"\x01")  # a dtype of 71 bits
@example(b"\x08\x80\x80\x80\x80\x08")  # a dtype of 32 bits
@example(b"\x2a\x03abc")  # three quarters of a float
@example(b"\x12\x01\x12")  # a shape that ends too early
@example(b"\x0b\x0c")  # a group
@example(b"\x00\x00")  # field number 0
def test_any_bytes_are_read_or_refused(content: bytes):
    for before in (b"", head(np.zeros(1, np.int32)), head(np.zeros(1, np.float32))):
        assert_read_alike(before + content)


def assert_read_alike(content: bytes) -> None:
    """A BadResponse, or the numbers that protobuf sees, too, unless what it refuses is a field of another dtype."""
    try:
        read = decode(content, "x")
        message = official.TensorProto.FromString(content)
    except BadResponse as error:
        assert str(error).startswith("x: ")
        return
    except DecodeError:
        return
    assert read.shape == tuple(dim.size for dim in message.tensor_shape.dim)
    if FIELDS.get(read.dtype.name, "half_val") != "half_val" and not message.tensor_content:
        typed = np.array(getattr(message, FIELDS[read.dtype.name])[:])
        typed = typed if read.dtype.kind != "c" else typed.astype(read.real.dtype).view(read.dtype)
        np.testing.assert_array_equal(read.ravel()[: len(typed)], typed.astype(read.dtype))
