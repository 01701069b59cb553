"""The client that speaks gRPC: the faster transport, and the one that keeps dtypes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message
from numpy.typing import NDArray

from vitrine_client import messages
from vitrine_client.base import Client
from vitrine_client.errors import InvalidInput, error_of_grpc_status
from vitrine_client.results import Metadata, ModelStatus, TensorInfo
from vitrine_client.wire import metadata_pb2, predict_pb2, status_pb2

_Message = TypeVar("_Message", bound=Message)

_PREDICT = "/tensorflow.serving.PredictionService/Predict"
_METADATA = "/tensorflow.serving.PredictionService/GetModelMetadata"
_STATUS = "/tensorflow.serving.ModelService/GetModelStatus"

_OPTIONS = [
    # A model's answer may well be over gRPC's 4 MiB.
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # gRPC's own pauses grow to two minutes, in which a server that came back is not noticed.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
]


class GrpcClient(Client):
    """A model on a server's gRPC port.

    Args:
        target: `host:port`, or another gRPC name such as `dns:///host:port` or `unix:/path`.
        model: the name that the server knows the model by.
        version: None for the highest loaded one.
        timeout: seconds from a call to its whole answer.

    Raises:
        InvalidInput: an argument that cannot be used.
    """

    def __init__(self, target: str, *, model: str, version: int | None = None, timeout: float = 30.0) -> None:
        if not isinstance(target, str) or not target or target.startswith(("http://", "https://")):
            raise InvalidInput(f"target={target!r}: give host:port, such as localhost:8500; URLs are RestClient's")
        super().__init__(target, "gRPC", model=model, version=version, timeout=timeout)
        self._channel = grpc.insecure_channel(target, options=_OPTIONS)
        self._methods = {path: self._channel.unary_unary(path) for path in (_PREDICT, _METADATA, _STATUS)}

    def _predict(
        self,
        inputs: Mapping[str, NDArray[Any]],
        signature_name: str,
        outputs: Mapping[str, TensorInfo] | None,
    ) -> dict[str, NDArray[Any]]:
        spec = messages.model_spec(self._model, self._version, signature_name)
        request = messages.predict_request(spec, inputs)
        return messages.outputs_of(self._send(_PREDICT, request, predict_pb2.PredictResponse, self._timeout))

    def _status(self, version: int | None, timeout: float) -> ModelStatus:
        request = status_pb2.GetModelStatusRequest(model_spec=messages.model_spec(self._model, version))
        return messages.status_of(self._model, self._send(_STATUS, request, status_pb2.GetModelStatusResponse, timeout))

    def _metadata(self) -> Metadata:
        request = metadata_pb2.GetModelMetadataRequest(
            model_spec=messages.model_spec(self._model, self._version), metadata_field=["signature_def"]
        )
        return messages.metadata_of(
            self._model, self._send(_METADATA, request, metadata_pb2.GetModelMetadataResponse, self._timeout)
        )

    def _send(self, path: str, request: Message, response: type[_Message], timeout: float) -> _Message:
        # The bytes are made and read here and not by gRPC, which would report either going wrong as INTERNAL.
        content = messages.serialize(request)
        try:
            answer = self._methods[path](content, timeout=timeout)
        except grpc.RpcError as error:
            said = error.details() or ""
            raise error_of_grpc_status(error.code(), said)(said, said) from error
        return messages.parse(response, answer)

    def _disconnect(self) -> None:
        self._channel.close()
