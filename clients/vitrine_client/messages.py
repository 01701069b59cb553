"""Requests and answers as TensorFlow Serving's messages, whatever carries them: gRPC's bytes or REST's JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from google.protobuf import json_format
from google.protobuf.message import DecodeError, EncodeError, Message
from numpy.typing import NDArray

from vitrine_client import tensors
from vitrine_client.errors import BadResponse, InvalidInput
from vitrine_client.results import Metadata, ModelStatus, Signature, TensorInfo, VersionStatus
from vitrine_client.wire import metadata_pb2, model_pb2, predict_pb2, status_pb2

_Message = TypeVar("_Message", bound=Message)


def model_spec(model: str, version: int | None, signature_name: str = "") -> model_pb2.ModelSpec:
    spec = model_pb2.ModelSpec(name=model, signature_name=signature_name)
    if version is not None:
        spec.version.value = version
    return spec


def predict_request(spec: model_pb2.ModelSpec, inputs: Mapping[str, NDArray[Any]]) -> predict_pb2.PredictRequest:
    """A request with arrays that came from `tensors.as_array`."""
    request = predict_pb2.PredictRequest(model_spec=spec)
    for name, array in inputs.items():
        request.inputs[name].CopyFrom(tensors.encode(array))
    return request


def outputs_of(response: predict_pb2.PredictResponse) -> dict[str, NDArray[Any]]:
    """The outputs by name. Raises BadResponse for a tensor that cannot be read."""
    return {name: tensors.decode(tensor, f"outputs[{name!r}]") for name, tensor in response.outputs.items()}


def status_of(model: str, response: status_pb2.GetModelStatusResponse) -> ModelStatus:
    """The status of a model's versions, highest first."""
    versions = (
        VersionStatus(
            version=status.version,
            state=_enum_name(status_pb2.ModelVersionStatus.State, status.state),
            error_code=_enum_name(status_pb2.Code, status.status.error_code),
            error_message=status.status.error_message,
        )
        for status in response.model_version_status
    )
    return ModelStatus(model, tuple(sorted(versions, key=lambda status: status.version, reverse=True)))


def metadata_of(model: str, response: metadata_pb2.GetModelMetadataResponse) -> Metadata:
    """The metadata of a version. Raises BadResponse where the signatures are missing or cannot be read."""
    if "signature_def" not in response.metadata:
        raise BadResponse("metadata without signature_def")
    signature_defs = parse(metadata_pb2.SignatureDefMap, response.metadata["signature_def"].value)
    return metadata_from(model, response.model_spec, signature_defs)


def metadata_from(model: str, spec: model_pb2.ModelSpec, signature_defs: metadata_pb2.SignatureDefMap) -> Metadata:
    """The metadata of a version from its parts."""
    signatures = {
        name: Signature(
            inputs={key: _tensor_info(info) for key, info in sorted(signature.inputs.items())},
            outputs={key: _tensor_info(info) for key, info in sorted(signature.outputs.items())},
            method_name=signature.method_name,
        )
        for name, signature in sorted(signature_defs.signature_def.items())
    }
    return Metadata(model, spec.version.value, signatures)


def serialize(request: Message) -> bytes:
    """A request's bytes. Raises InvalidInput where it is larger than a message can be."""
    try:
        return request.SerializeToString()
    except (ValueError, EncodeError) as error:
        raise InvalidInput(f"a request over 2 GiB cannot be sent ({error}): split it") from error


def parse(message: type[_Message], content: bytes) -> _Message:
    """A message from its bytes. Raises BadResponse where they are no such message."""
    try:
        return message.FromString(content)
    except DecodeError as error:
        raise BadResponse(f"not a {message.DESCRIPTOR.name} message: {error}") from error


def parse_json(message: type[_Message], value: object) -> _Message:
    """A message from its parsed JSON. Raises BadResponse where it is no such message."""
    if not isinstance(value, dict):
        raise BadResponse(f"{type(value).__name__} where a {message.DESCRIPTOR.name} object belongs")
    try:
        return json_format.ParseDict(value, message(), ignore_unknown_fields=True)
    except (json_format.ParseError, ValueError, RecursionError) as error:
        raise BadResponse(f"not a {message.DESCRIPTOR.name} object: {error}") from error


def _tensor_info(info: metadata_pb2.TensorInfo) -> TensorInfo:
    shape = info.tensor_shape
    sizes = None if shape.unknown_rank else tuple(None if dim.size < 0 else dim.size for dim in shape.dim)
    return TensorInfo(tensors.dtype_name(info.dtype), sizes)


def _enum_name(enum: Any, value: int) -> str:
    return str(enum.Name(value)) if value in enum.values() else str(value)
