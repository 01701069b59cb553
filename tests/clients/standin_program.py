"""A program that speaks both protocols of TensorFlow Serving and is quickly started, killed and started again.

A prediction's outputs are its inputs, and `server`: the gRPC port, once for each row.
"""

from __future__ import annotations

import argparse
import json
import signal
import socket
import ssl
import sys
import threading
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc

from vitrine_client.wire import predict_pb2, status_pb2, tensor_pb2

UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
INT64 = {"dtype": "DT_INT64", "tensorShape": {"dim": [{"size": "-1"}]}}
STRING = {**INT64, "dtype": "DT_STRING"}
METADATA = {
    "model_spec": {"name": "echo", "version": "1"},
    "metadata": {
        "signature_def": {
            "signature_def": {
                "serving_default": {"inputs": {"x": INT64}, "outputs": {"x": INT64, "server": INT64}},
                "strings": {"inputs": {"x": STRING}, "outputs": {"x": STRING, "server": INT64}},
            }
        }
    },
}
STATUS = {"model_version_status": [{"version": "1", "state": "AVAILABLE", "status": {}}]}


class Service(grpc.GenericRpcHandler):
    def __init__(self) -> None:
        self.port = 0

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        answer = self._predict if details.method.endswith("/Predict") else self._status
        return grpc.unary_unary_rpc_method_handler(answer)

    def _predict(self, content: bytes, context: grpc.ServicerContext) -> bytes:
        request = predict_pb2.PredictRequest.FromString(content)
        rows = request.inputs["x"].tensor_shape.dim[0].size
        server = tensor_pb2.TensorProto(dtype=tensor_pb2.DT_INT64, int64_val=[self.port] * rows)
        server.tensor_shape.dim.add(size=rows)
        return predict_pb2.PredictResponse(outputs={**request.inputs, "server": server}).SerializeToString()

    def _status(self, content: bytes, context: grpc.ServicerContext) -> bytes:
        response = status_pb2.GetModelStatusResponse()
        response.model_version_status.add(version=1, state=status_pb2.ModelVersionStatus.AVAILABLE)
        return response.SerializeToString()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    grpc_port = 0

    def do_GET(self) -> None:
        self._answer(METADATA if self.path.endswith("/metadata") else STATUS)

    def do_POST(self) -> None:
        inputs = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["inputs"]
        self._answer({"outputs": {**inputs, "server": [self.grpc_port] * len(inputs["x"])}})

    def _answer(self, answer: Any) -> None:
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


class HttpServer(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True

    def __init__(self, host: str, port: int, context: ssl.SSLContext | None) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host.strip("[]"), port), Handler)
        self._context = context

    def finish_request(self, request: Any, client_address: Any) -> None:
        # Here, on the connection's own thread, a client that never shakes hands delays nobody else.
        if self._context is not None:
            request = self._context.wrap_socket(request, server_side=True)
        super().finish_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no news."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--grpc-port", type=int, default=0)
    parser.add_argument("--rest-port", type=int, default=0)
    parser.add_argument("--certificate", type=Path, help="with its key: TLS on both ports")
    parser.add_argument("--key", type=Path)
    parser.add_argument("--client-ca", type=Path, help="mutual TLS")
    given = parser.parse_args()

    service = Service()
    # Two servers on one port would hide that the first is still there.
    server = grpc.server(futures.ThreadPoolExecutor(40), [service], options=[*UNLIMITED, ("grpc.so_reuseport", 0)])
    place = f"{given.host}:{given.grpc_port}"
    context = None
    if given.certificate is None:
        service.port = server.add_insecure_port(place)
    else:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=given.client_ca)
        context.load_cert_chain(given.certificate, given.key)
        context.verify_mode = ssl.CERT_REQUIRED if given.client_ca else ssl.CERT_NONE
        pair = (given.key.read_bytes(), given.certificate.read_bytes())
        ca = given.client_ca.read_bytes() if given.client_ca else None
        service.port = server.add_secure_port(place, grpc.ssl_server_credentials([pair], ca, ca is not None))
    Handler.grpc_port = service.port
    web = HttpServer(given.host, given.rest_port, context)
    server.start()
    threading.Thread(target=web.serve_forever, daemon=True).start()

    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: ended.set())
    sys.stdout.write(f"{service.port} {web.server_port}\n")
    sys.stdout.flush()
    ended.wait()
    server.stop(5).wait()


if __name__ == "__main__":
    main()
