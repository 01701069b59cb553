"""Requests and answers as TensorFlow Serving's messages, whatever carries them: gRPC's bytes or REST's JSON."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from google.protobuf import json_format
from google.protobuf.message import DecodeError, EncodeError, Message
from numpy.typing import NDArray

from vitrine_client import tensor_reading, tensors
from vitrine_client.errors import BadResponse, InvalidInput
from vitrine_client.model_config import ModelConfig
from vitrine_client.results import Metadata, ModelStatus, Signature, TensorInfo, VersionStatus
from vitrine_client.wire import config_pb2, fields, health_pb2, metadata_pb2, model_pb2, predict_pb2, status_pb2

_Message = TypeVar("_Message", bound=Message)

# Bytes up to which protobuf's copies of an answer cost less than going round them.
_SMALL_ANSWER = 4096

# What a server's health speaks of besides its models. TensorFlow Serving names its services without the package, too.
_SERVICES = ("", "PredictionService", "ModelService")
_SERVICE_PREFIXES = ("tensorflow.serving.", "grpc.health.")
# Protobuf's own limit.
_MAX_BYTES = 2**31 - 1


def model_spec(
    model: str, version: int | None = None, label: str | None = None, signature_name: str = ""
) -> model_pb2.ModelSpec:
    spec = model_pb2.ModelSpec(name=model, signature_name=signature_name)
    if version is not None:
        spec.version.value = version
    elif label is not None:
        spec.version_label = label
    return spec


def predict_bytes(
    spec: model_pb2.ModelSpec, inputs: Mapping[str, NDArray[Any]], output_filter: Sequence[str] = ()
) -> bytes:
    """A serialized PredictRequest with arrays that came from `tensors.as_array`.

    Raises:
        InvalidInput: larger than a message can be.
    """
    parts: list[bytes | memoryview] = [predict_pb2.PredictRequest(model_spec=spec).SerializeToString()]
    for name, array in inputs.items():
        # Before they are copied: protobuf would fill the memory with strings first.
        if array.dtype.kind == "O" and (size := sum(map(len, array.flat))) > _MAX_BYTES:
            raise _oversize(f"{size} bytes")
        parts += fields.map_entry(predict_pb2.PredictRequest.INPUTS_FIELD_NUMBER, name, tensors.encode(array))
    if output_filter:
        parts.append(predict_pb2.PredictRequest(output_filter=output_filter).SerializeToString())
    size = sum(map(len, parts))
    if size > _MAX_BYTES:
        raise _oversize(f"{size} bytes")
    # The only copy of the numbers.
    return b"".join(parts)


def outputs_from(content: bytes) -> dict[str, NDArray[Any]]:
    """The outputs of a serialized PredictResponse by name. Raises BadResponse where one cannot be read."""
    if len(content) > _SMALL_ANSWER:
        # ValueError: broken, or in a form that is legal but that no server writes. Protobuf tells which.
        with contextlib.suppress(ValueError):
            found = fields.map_entries(content, predict_pb2.PredictResponse.OUTPUTS_FIELD_NUMBER)
            return {name: tensor_reading.decode(tensor, f"outputs[{name!r}]") for name, tensor in found.items()}
    outputs = parse(predict_pb2.PredictResponse, content).outputs
    return {name: tensor_reading.decode_message(tensor, f"outputs[{name!r}]") for name, tensor in outputs.items()}


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


def reload_request(models: Sequence[ModelConfig]) -> bytes:
    """A ReloadConfigRequest: from now on serve these models and no others."""
    request = config_pb2.ReloadConfigRequest()
    listed = request.config.model_config_list
    # Set for no models at all, too.
    listed.SetInParent()
    for model in models:
        config = listed.config.add(
            name=model.name, base_path=model.base_path, model_platform=model.platform, version_labels=model.labels
        )
        if model.latest is not None:
            config.model_version_policy.latest.num_versions = model.latest
        elif model.all:
            config.model_version_policy.all.SetInParent()
        elif model.specific:
            config.model_version_policy.specific.versions.extend(model.specific)
    return serialize(request)


def reload_refusal(content: bytes) -> tuple[str, str] | None:
    """Code's name and message of a serialized ReloadConfigResponse, None for OK. Raises BadResponse where it is none.

    A code that gRPC does not have is UNKNOWN.
    """
    status = parse(config_pb2.ReloadConfigResponse, content).status
    if status.error_code == status_pb2.OK:
        return None
    known = status.error_code in status_pb2.Code.values()
    return status_pb2.Code.Name(status.error_code if known else status_pb2.UNKNOWN), status.error_message


def models_listed(content: bytes) -> tuple[str, ...]:
    """The models of a serialized HealthListResponse, sorted. Raises BadResponse where it is none."""
    statuses = parse(health_pb2.HealthListResponse, content).statuses
    return tuple(sorted(name for name in statuses if name not in _SERVICES and not name.startswith(_SERVICE_PREFIXES)))


def serialize(request: Message) -> bytes:
    """A request's bytes. Raises InvalidInput where it is larger than a message can be."""
    try:
        return request.SerializeToString()
    except (ValueError, EncodeError) as error:
        raise _oversize(str(error)) from error


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


def _oversize(said: str) -> InvalidInput:
    return InvalidInput(f"a request over 2 GiB cannot be sent ({said}): split it")


def _tensor_info(info: metadata_pb2.TensorInfo) -> TensorInfo:
    shape = info.tensor_shape
    sizes = None if shape.unknown_rank else tuple(None if dim.size < 0 else dim.size for dim in shape.dim)
    return TensorInfo(tensors.dtype_name(info.dtype), sizes)


def _enum_name(enum: Any, value: int) -> str:
    return str(enum.Name(value)) if value in enum.values() else str(value)
