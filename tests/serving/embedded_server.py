"""A real `vitrine-model-server` process and its clients."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import requests
import tensorflow as tf
from processes import DEADLINE_SECONDS, free_port, wait_until
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

COMMAND = Path(sys.executable).with_name("vitrine-model-server")
MODEL = "model"


class ModelServer:
    """A running server, its clients, and what it wrote on stderr."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, rest_port: int, log: Path) -> None:
        self.process = process
        self.port = port
        self.url = f"http://127.0.0.1:{rest_port}"
        self.model_url = f"{self.url}/v1/models/{MODEL}"
        self._log = log
        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}", options)
        self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.models = model_service_pb2_grpc.ModelServiceStub(self.channel)

    @property
    def log(self) -> str:
        return self._log.read_text()

    def predict(
        self,
        inputs: dict[str, Any],
        signature_name: str = "",
        version: int | None = None,
        output_filter: tuple[str, ...] = (),
    ) -> predict_pb2.PredictResponse:
        request = predict_pb2.PredictRequest(output_filter=output_filter)
        request.model_spec.name = MODEL
        request.model_spec.signature_name = signature_name
        if version is not None:
            request.model_spec.version.value = version
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
        return self.prediction.Predict(request, timeout=DEADLINE_SECONDS)

    def post(self, body: Any, path: str = ":predict") -> requests.Response:
        """POST to the model: bytes as they are, anything else as JSON."""
        kind = {"data": body} if isinstance(body, bytes) else {"json": body}
        return requests.post(self.model_url + path, timeout=DEADLINE_SECONDS, **kind)

    def states(self) -> dict[int, tuple[str, str]]:
        """By version: its state, and the message of its status."""
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = MODEL
        try:
            response = self.models.GetModelStatus(request, timeout=DEADLINE_SECONDS)
        except grpc.RpcError:
            return {}
        state = get_model_status_pb2.ModelVersionStatus.State.Name
        return {s.version: (state(s.state), s.status.error_message) for s in response.model_version_status}

    def wait_for(self, version: int, state: str) -> None:
        wait_until(lambda: self.states().get(version, ("",))[0] == state, f"version {version} {state}\n{self.log}")

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE_SECONDS)


@contextlib.contextmanager
def running_server(base_path: Path, log: Path, *flags: str) -> Iterator[ModelServer]:
    port, rest_port = free_port(), free_port()
    command = [
        *(str(COMMAND), f"--port={port}", f"--rest_api_port={rest_port}", f"--model_name={MODEL}"),
        *(f"--model_base_path={base_path}", *flags),
    ]
    with log.open("wb") as stderr:
        process = subprocess.Popen(command, stderr=stderr)
    server = ModelServer(process, port, rest_port, log)
    try:
        wait_until(lambda: process.poll() is not None or "REST listening" in server.log, "the server listens")
        assert process.poll() is None, server.log
        yield server
        if process.poll() is None:
            assert server.stop() == 0, server.log
    finally:
        server.channel.close()
        if process.poll() is None:
            process.kill()
            process.wait()
