"""gRPC: PredictionService and ModelService over the core."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    predict_pb2,
)

from vitrine_serving.embedded.core import Core, ModelTarget
from vitrine_serving.embedded.errors import Code, ServingError, internal_error, invalid_argument
from vitrine_serving.embedded.inference.tensors import fill_proto, to_ndarray
from vitrine_serving.embedded.messages import metadata_response, status_response

logger = logging.getLogger(__name__)

# A status message travels in a header, which clients refuse when large. TensorFlow Serving's limit.
_MAX_MESSAGE = 1024
_STATUS = {code: next(s for s in grpc.StatusCode if s.value[0] == code) for code in Code}


class _Service:
    def __init__(self, core: Core) -> None:
        self._core = core

    def predict(self, request: predict_pb2.PredictRequest) -> predict_pb2.PredictResponse:
        prediction = self._core.predict(
            _target(request),
            request.model_spec.signature_name,
            lambda _: {name: to_ndarray(name, proto) for name, proto in request.inputs.items()},
            list(request.output_filter),
        )
        response = predict_pb2.PredictResponse()
        response.model_spec.name = prediction.name
        response.model_spec.version.value = prediction.version
        response.model_spec.signature_name = prediction.signature_name
        for name, array in prediction.outputs.items():
            fill_proto(response.outputs[name], array)
        return response

    def get_model_metadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        target = _target(request)
        if not request.metadata_field:
            raise invalid_argument("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != "signature_def":
                raise invalid_argument(f"Metadata field {field} is not supported")
        return metadata_response(self._core.metadata(target))

    def get_model_status(
        self, request: get_model_status_pb2.GetModelStatusRequest
    ) -> get_model_status_pb2.GetModelStatusResponse:
        return status_response(self._core.status(_target(request)))


def start(core: Core, address: str, max_threads: int) -> Callable[[float], Any]:
    """Serve on `address`; returns a function that stops accepting and waits up to so many seconds.

    Raises OSError when the address cannot be bound.
    """
    server = grpc.server(
        ThreadPoolExecutor(max_threads, "grpc"),
        options=[
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
            # Without this a second server on a busy port would silently share its connections.
            ("grpc.so_reuseport", 0),
        ],
    )
    server.add_generic_rpc_handlers(_handlers(_Service(core)))
    try:
        server.add_insecure_port(address)
    except RuntimeError as error:
        raise OSError(str(error)) from error
    server.start()
    return lambda grace: server.stop(grace).wait()


def _handlers(service: _Service) -> list[grpc.GenericRpcHandler]:
    """Handlers of the methods there are; gRPC answers UNIMPLEMENTED to all others."""
    methods = {
        "PredictionService": {
            "Predict": (service.predict, predict_pb2.PredictRequest),
            "GetModelMetadata": (service.get_model_metadata, get_model_metadata_pb2.GetModelMetadataRequest),
        },
        "ModelService": {
            "GetModelStatus": (service.get_model_status, get_model_status_pb2.GetModelStatusRequest),
        },
    }
    return [
        grpc.method_handlers_generic_handler(
            f"tensorflow.serving.{name}",
            {
                method: grpc.unary_unary_rpc_method_handler(
                    _translated(behavior), request.FromString, lambda response: response.SerializeToString()
                )
                for method, (behavior, request) in behaviors.items()
            },
        )
        for name, behaviors in methods.items()
    ]


def _target(request: Any) -> ModelTarget:
    if not request.HasField("model_spec"):
        raise invalid_argument("Missing ModelSpec")
    spec: model_pb2.ModelSpec = request.model_spec
    choice = spec.WhichOneof("version_choice")
    return ModelTarget(
        spec.name,
        version=spec.version.value if choice == "version" else None,
        label=spec.version_label if choice == "version_label" else None,
    )


def _translated(behavior: Callable[[Any], Any]) -> Callable[[Any, grpc.ServicerContext], Any]:
    def call(request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return behavior(request)
        except ServingError as failure:
            error = failure
        except Exception:
            logger.exception("A %s failed", type(request).__name__)
            error = internal_error()
        message = error.message
        if len(message) > _MAX_MESSAGE:
            message = message[:_MAX_MESSAGE] + "...TRUNCATED"
        return context.abort(_STATUS[error.code], message)

    return call
