"""Our messages against TensorFlow Serving's own: the same numbers, types and bytes."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2 as official_health
from tensorflow.core.framework import tensor_pb2 as official_tensor
from tensorflow.core.framework import types_pb2 as official_types
from tensorflow.core.protobuf import meta_graph_pb2 as official_meta_graph
from tensorflow_serving.apis import get_model_metadata_pb2 as official_metadata
from tensorflow_serving.apis import get_model_status_pb2 as official_status
from tensorflow_serving.apis import model_management_pb2 as official_reload
from tensorflow_serving.apis import model_pb2 as official_model
from tensorflow_serving.apis import predict_pb2 as official_predict
from tensorflow_serving.apis import status_pb2

from vitrine_client.wire import config_pb2, health_pb2, metadata_pb2, model_pb2, predict_pb2, tensor_pb2
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
    (config_pb2.ReloadConfigRequest, official_reload.ReloadConfigRequest),
    (config_pb2.ReloadConfigResponse, official_reload.ReloadConfigResponse),
    (health_pb2.HealthCheckResponse, official_health.HealthCheckResponse),
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


def test_health_has_the_official_numbers():
    ours, official = health_pb2.HealthCheckResponse.ServingStatus, official_health.HealthCheckResponse.ServingStatus
    assert dict(ours.items()) == dict(official.items())


def test_every_message_that_travels_is_checked():
    """The listing of health is in no official package yet; a server's own answers check it elsewhere."""
    checked = set()
    for ours, _ in PAIRS:
        checked |= reached_from(ours.DESCRIPTOR)
    files = (config_pb2, health_pb2, metadata_pb2, model_pb2, predict_pb2, our_status, tensor_pb2)
    messages = {message.full_name for file in files for message in file.DESCRIPTOR.message_types_by_name.values()}
    assert messages - checked == {"vitrine.wire.HealthListRequest", "vitrine.wire.HealthListResponse"}


IMPORTS = ("import tensorflow; from tensorflow_serving.apis import predict_pb2", "import vitrine_client")


@pytest.mark.parametrize("imports", [IMPORTS, IMPORTS[::-1]], ids=["TensorFlow first", "TensorFlow last"])
def test_both_live_in_one_process(imports: tuple[str, ...]):
    code = """
import numpy as np
from vitrine_client import messages
content = messages.predict_bytes(messages.model_spec("m"), {"x": np.float32([1, 2])})
request = predict_pb2.PredictRequest.FromString(content)
doubled = tensorflow.make_tensor_proto(2 * tensorflow.make_ndarray(request.inputs["x"]))
answer = predict_pb2.PredictResponse(outputs={"y": doubled})
print(messages.outputs_from(answer.SerializeToString())["y"].tolist())
"""
    done = subprocess.run(
        [sys.executable, "-c", "\n".join([*imports, code])],
        capture_output=True,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert done.stdout == "[2.0, 4.0]\n", done.stderr


def reached_from(message: Descriptor) -> set[str]:
    """A message and all that are in it, by full name."""
    names = {message.full_name}
    for field in message.fields:
        if field.message_type:
            names |= reached_from(field.message_type)
    return names


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


VALUES = {
    FieldDescriptor.CPPTYPE_BOOL: True,
    FieldDescriptor.CPPTYPE_DOUBLE: 0.25,
    FieldDescriptor.CPPTYPE_ENUM: 20,
    FieldDescriptor.CPPTYPE_FLOAT: -0.5,
    FieldDescriptor.CPPTYPE_INT32: -3,
    FieldDescriptor.CPPTYPE_INT64: -(2**40),
    FieldDescriptor.CPPTYPE_UINT32: 2**32 - 1,
    FieldDescriptor.CPPTYPE_UINT64: 2**64 - 1,
}


def filled(message: Message) -> Message:
    """The message with a value in every field; of a oneof, in its last one."""
    # A message without fields is there, too.
    message.SetInParent()
    for field in message.DESCRIPTOR.fields:
        content = getattr(message, field.name)
        if field.message_type and field.message_type.GetOptions().map_entry:
            filled_entry(field, content)
        elif field.message_type and repeated(field):
            filled(content.add())
        elif field.message_type:
            filled(content)
        else:
            value = value_of(field)
            if repeated(field):
                content.extend([value, value])
            else:
                setattr(message, field.name, value)
    return message


def filled_entry(field: FieldDescriptor, content: Any) -> None:
    value = field.message_type.fields_by_name["value"]
    if value.message_type:
        filled(content["key"])
    else:
        content["key"] = value_of(value)


def value_of(field: FieldDescriptor) -> object:
    return VALUES.get(field.cpp_type, b"\xff" if field.type == field.TYPE_BYTES else "text")
