"""Requests as gRPC methods and bytes, and bytes as answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import grpc

from vitrine_client import messages
from vitrine_client.channel import HEALTH_SERVICE, MODEL_SERVICE, PREDICTION_SERVICE
from vitrine_client.errors import InvalidInput, ServerError, VitrineError, error_of_grpc_status, one_line
from vitrine_client.model_config import ModelConfig
from vitrine_client.steps import GetMetadata, GetStatus, ListModels, Predict, Reload, Request
from vitrine_client.wire import metadata_pb2, status_pb2

_PREDICT = f"/{PREDICTION_SERVICE}/Predict"
_METADATA = f"/{PREDICTION_SERVICE}/GetModelMetadata"
_STATUS = f"/{MODEL_SERVICE}/GetModelStatus"
_RELOAD = f"/{MODEL_SERVICE}/HandleReloadConfigRequest"
_LIST = f"/{HEALTH_SERVICE}/List"

_METHODS = (_PREDICT, _METADATA, _STATUS, _RELOAD, _LIST)


def methods_of(channel: Any) -> dict[str, Callable[..., Any]]:
    """What `encode`'s paths call, on a channel of `grpc` or `grpc.aio`."""
    return {path: channel.unary_unary(path) for path in _METHODS}


def encode(request: Request) -> tuple[str, bytes]:
    """The method's path and the message's bytes. Raises InvalidInput where they are over 2 GiB."""
    # The bytes are made and read here and not by gRPC, which would report either going wrong as INTERNAL.
    chosen = request.call.selection
    if isinstance(request, Predict):
        spec = messages.model_spec(chosen.model, chosen.version, chosen.label, request.signature_name)
        return _PREDICT, messages.predict_bytes(spec, request.inputs, request.output_filter)
    if isinstance(request, GetStatus):
        spec = messages.model_spec(chosen.model, chosen.version, chosen.label)
        return _STATUS, messages.serialize(status_pb2.GetModelStatusRequest(model_spec=spec))
    if isinstance(request, GetMetadata):
        spec = messages.model_spec(chosen.model, chosen.version, chosen.label)
        asked = metadata_pb2.GetModelMetadataRequest(model_spec=spec, metadata_field=["signature_def"])
        return _METADATA, messages.serialize(asked)
    if isinstance(request, Reload):
        return _RELOAD, messages.reload_request(request.models)
    return _LIST, b""


def decode(request: Request, content: bytes) -> Any:
    """The answer as `steps` describes it. Raises BadResponse, and what a reload was refused with."""
    model = request.call.selection.model
    if isinstance(request, Predict):
        return messages.outputs_from(content)
    if isinstance(request, GetStatus):
        return messages.status_of(model, messages.parse(status_pb2.GetModelStatusResponse, content))
    if isinstance(request, GetMetadata):
        return messages.metadata_of(model, messages.parse(metadata_pb2.GetModelMetadataResponse, content))
    if isinstance(request, ListModels):
        return messages.models_listed(content)
    if refusal := messages.reload_refusal(content):
        raise error_of(request, grpc.StatusCode[refusal[0]], refusal[1])
    return None


def error_of(request: Request, code: grpc.StatusCode, said: str) -> VitrineError:
    """What a failed call stands for."""
    if isinstance(request, ListModels) and code is grpc.StatusCode.UNIMPLEMENTED:
        return ServerError(
            "the server has no list of its models (the embedded server has one with its gRPC health "
            "service: --enable_grpc_healthcheck_service)",
            said,
        )
    return error_of_grpc_status(code, said)(one_line(said), said)


def metadata(headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(headers.items())


def checked_models(models: Any) -> tuple[ModelConfig, ...]:
    """Raises InvalidInput for anything but a list of ModelConfig with different names."""
    listed = tuple(models) if isinstance(models, (list, tuple)) else ()
    if not listed or not all(isinstance(model, ModelConfig) for model in listed):
        raise InvalidInput("models: give a list of ModelConfig: all models that the server is to serve from now on")
    names = [model.name for model in listed]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InvalidInput(f"models: {twice[0]!r} is there twice")
    return listed
