"""A bare server on the embedded server's own transports: it parses the request and sends a ready-made reply.

What it costs is the floor under any Python server of this API.

python -m benchmarks.bare GRPC_PORT REST_PORT
"""

from __future__ import annotations

import json
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from benchmarks.models import NAME
from vitrine_serving.embedded.rest.http import server as rest_server
from vitrine_serving.embedded.rest.http.messages import Response
from vitrine_serving.embedded.rest.options import RestOptions

_THREADS = 16
_OUTPUT = [2.5, 3.0, 4.5]


def _grpc_reply() -> predict_pb2.PredictResponse:
    reply = predict_pb2.PredictResponse()
    reply.model_spec.name, reply.model_spec.signature_name = NAME, "serving_default"
    reply.model_spec.version.value = 1
    reply.outputs["y"].CopyFrom(tf.make_tensor_proto(_OUTPUT, tf.float32))
    return reply


def _serve_grpc(port: int) -> grpc.Server:
    reply = _grpc_reply()
    handler = grpc.unary_unary_rpc_method_handler(
        lambda _request, _context: reply,
        predict_pb2.PredictRequest.FromString,
        predict_pb2.PredictResponse.SerializeToString,
    )
    server = grpc.server(ThreadPoolExecutor(_THREADS))
    service = "tensorflow.serving.PredictionService"
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, {"Predict": handler})])
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    return server


class _Echo:
    """REST's part: parse the body as JSON, send an answer known before."""

    def __init__(self) -> None:
        self._status = json.dumps({"model_version_status": [{"version": "1", "state": "AVAILABLE"}]}).encode()

    def __call__(self, request: Any) -> Response:
        if request.method == "GET":
            return Response(200, self._status)
        json.loads(request.body)
        return Response(200, json.dumps({"predictions": _OUTPUT}).encode())

    def is_urgent(self, request: Any) -> bool:
        return False

    def refuse(self, request: Any) -> Response:
        return Response(429, b"{}")


def main() -> None:
    grpc_port, rest_port = map(int, sys.argv[1:])
    server = _serve_grpc(grpc_port)
    bound = socket.socket()
    bound.bind(("127.0.0.1", rest_port))
    rest_server.start(_Echo(), bound, RestOptions(threads=_THREADS))
    server.wait_for_termination()


if __name__ == "__main__":
    main()
