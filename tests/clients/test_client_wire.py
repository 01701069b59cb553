"""Our messages against TensorFlow Serving's own: the same numbers, types and bytes."""

from __future__ import annotations

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from tensorflow.core.framework import tensor_pb2 as official_tensor
from tensorflow.core.framework import types_pb2 as official_types
from tensorflow.core.protobuf import meta_graph_pb2 as official_meta_graph
from tensorflow_serving.apis import get_model_metadata_pb2 as official_metadata
from tensorflow_serving.apis import get_model_status_pb2 as official_status
from tensorflow_serving.apis import model_pb2 as official_model
from tensorflow_serving.apis import predict_pb2 as official_predict
from tensorflow_serving.apis import status_pb2

from vitrine_client.wire import metadata_pb2, model_pb2, predict_pb2, tensor_pb2
from vitrine_client.wire import status_pb2 as our_status

PAIRS = [
    (tensor_pb2.TensorProto, official_tensor.TensorProto),
    (model_pb2.ModelSpec, official_model.ModelSpec),
    (predict_pb2.PredictRequest, official_predict.PredictRequest),
    (predict_pb2.PredictResponse, official_predict.PredictResponse),
    (metadata_pb2.TensorInfo, official_meta_graph.TensorInfo),
    (metadata_pb2.SignatureDef, official_meta_graph.SignatureDef),
    (metadata_pb2.SignatureDefMap, official_metadata.SignatureDefMap),
    (metadata_pb2.GetModelMetadataRequest, official_metadata.GetModelMetadataRequest),
    (metadata_pb2.GetModelMetadataResponse, official_metadata.GetModelMetadataResponse),
    (our_status.GetModelStatusRequest, official_status.GetModelStatusRequest),
    (our_status.GetModelStatusResponse, official_status.GetModelStatusResponse),
    (our_status.StatusProto, status_pb2.StatusProto),
]


@pytest.mark.parametrize(("ours", "official"), PAIRS, ids=lambda message: message.DESCRIPTOR.name)
def test_fields_have_the_official_numbers_and_types(ours: type[Message], official: type[Message]):
    assert_compatible(ours.DESCRIPTOR, official.DESCRIPTOR)


@pytest.mark.parametrize(("ours", "official"), PAIRS, ids=lambda message: message.DESCRIPTOR.name)
def test_bytes_mean_the_same_both_ways(ours: type[Message], official: type[Message]):
    message = filled(ours())
    read = official.FromString(message.SerializeToString(deterministic=True))
    read.DiscardUnknownFields()
    assert read.SerializeToString(deterministic=True) == message.SerializeToString(deterministic=True)
    assert ours.FromString(read.SerializeToString()) == message


def test_data_types_have_the_official_numbers():
    for name, number in tensor_pb2.DataType.items():
        assert official_types.DataType.Value(name) == number


def test_error_codes_have_the_official_numbers():
    official = status_pb2.StatusProto.DESCRIPTOR.fields_by_name["error_code"].enum_type
    assert dict(our_status.Code.items()) == {
        value.name: value.number for value in official.values if not value.name.startswith("DO_NOT_USE")
    }


def test_version_states_have_the_official_numbers():
    ours, official = our_status.ModelVersionStatus.State, official_status.ModelVersionStatus.State
    assert dict(ours.items()) == dict(official.items())


def test_packed_fields_are_those_of_a_tensor():
    for field in tensor_pb2.PackedTensorProto.DESCRIPTOR.fields:
        packed = tensor_pb2.TensorProto.DESCRIPTOR.fields_by_name[field.name]
        assert packed.number == field.number
        assert packed.type in (FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_BOOL)


def assert_compatible(ours: Descriptor, official: Descriptor) -> None:
    for field in ours.fields:
        other = official.fields_by_name[field.name]
        assert (field.number, field.type) == (other.number, other.type), field.full_name
        assert repeated(field) == repeated(other), field.full_name
        oneofs = [one.containing_oneof and one.containing_oneof.name for one in (field, other)]
        assert field.containing_oneof is None or oneofs[0] == oneofs[1], field.full_name
        if field.message_type and field.message_type.file.package.startswith("vitrine"):
            assert_compatible(field.message_type, other.message_type)


def repeated(field: FieldDescriptor) -> bool:
    return field.is_repeated if hasattr(field, "is_repeated") else field.label == field.LABEL_REPEATED


def filled(message: Message, depth: int = 6) -> Message:
    """The message with a value in every field."""
    values = {
        FieldDescriptor.CPPTYPE_BOOL: True,
        FieldDescriptor.CPPTYPE_DOUBLE: 0.25,
        FieldDescriptor.CPPTYPE_ENUM: 20,
        FieldDescriptor.CPPTYPE_FLOAT: -0.5,
        FieldDescriptor.CPPTYPE_INT32: -3,
        FieldDescriptor.CPPTYPE_INT64: -(2**40),
        FieldDescriptor.CPPTYPE_UINT32: 2**32 - 1,
        FieldDescriptor.CPPTYPE_UINT64: 2**64 - 1,
    }
    for field in message.DESCRIPTOR.fields:
        content = getattr(message, field.name)
        if field.message_type and field.message_type.GetOptions().map_entry:
            filled(content["key"], depth - 1)
        elif field.message_type and repeated(field):
            filled(content.add(), depth - 1)
        elif field.message_type:
            filled(content, depth - 1)
        else:
            value = values.get(field.cpp_type, b"\xff" if field.type == field.TYPE_BYTES else "text")
            if repeated(field):
                content.extend([value, value])
            else:
                setattr(message, field.name, value)
    return message
