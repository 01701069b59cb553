"""A real `vitrine-model-server` process and its clients."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest
import requests
import tensorflow as tf
from processes import DEADLINE_SECONDS, free_port, wait_until
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

COMMAND = Path(sys.executable).with_name("vitrine-model-server")
MODEL = "model"
UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class ModelServer:
    """A running server, its clients, and what it wrote on stderr."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        port: int,
        rest_port: int,
        log: Path,
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        self.process = process
        self.port = port
        self.url = f"http://127.0.0.1:{rest_port}"
        self.model_url = f"{self.url}/v1/models/{MODEL}"
        self._log = log
        self.channel = channel_to(f"localhost:{port}" if credentials else f"127.0.0.1:{port}", credentials)
        self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.models = model_service_pb2_grpc.ModelServiceStub(self.channel)

    @property
    def log(self) -> str:
        return self._log.read_text()

    def predict(
        self,
        inputs: Mapping[str, Any],
        signature_name: str = "",
        version: int | None = None,
        output_filter: tuple[str, ...] = (),
        timeout: float = DEADLINE_SECONDS,
        **target: str,
    ) -> predict_pb2.PredictResponse:
        """Further fields of the ModelSpec by name: `model`, `label`."""
        request = predict_pb2.PredictRequest(
            model_spec=model_spec(signature_name=signature_name, version=version, **target), output_filter=output_filter
        )
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
        return self.prediction.Predict(request, timeout=timeout)

    def post(self, body: Any, path: str = ":predict", model: str = MODEL, **options: Any) -> requests.Response:
        """POST to the model: bytes as they are, anything else as JSON."""
        kind = {"data": body} if isinstance(body, bytes) else {"json": body}
        return requests.post(f"{self.url}/v1/models/{model}{path}", timeout=DEADLINE_SECONDS, **kind, **options)

    def get(self, path: str) -> requests.Response:
        return requests.get(self.url + path, timeout=DEADLINE_SECONDS)

    def states(self, model: str = MODEL) -> dict[int, tuple[str, str]]:
        """By version: its state, and the message of its status."""
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = model
        try:
            response = self.models.GetModelStatus(request, timeout=DEADLINE_SECONDS)
        except grpc.RpcError:
            return {}
        state = get_model_status_pb2.ModelVersionStatus.State.Name
        return {s.version: (state(s.state), s.status.error_message) for s in response.model_version_status}

    def wait_for(self, version: int, state: str, model: str = MODEL) -> None:
        wait_until(lambda: self.states(model).get(version, ("",))[0] == state, f"{model} {version} {state}\n{self.log}")

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE_SECONDS)


def model_spec(
    model: str = MODEL, signature_name: str = "", version: int | None = None, label: str = ""
) -> model_pb2.ModelSpec:
    spec = model_pb2.ModelSpec(name=model, signature_name=signature_name)
    if version is not None:
        spec.version.value = version
    if label:
        spec.version_label = label
    return spec


def channel_to(address: str, credentials: grpc.ChannelCredentials | None = None) -> grpc.Channel:
    """A channel without limits on messages; with TLS for `credentials`."""
    if credentials is None:
        return grpc.insecure_channel(address, UNLIMITED)
    return grpc.secure_channel(address, credentials, UNLIMITED)


def status_of(call: Any) -> tuple[grpc.StatusCode, str]:
    """Code and message of a call that must fail."""
    with pytest.raises(grpc.RpcError) as raised:
        call()
    return raised.value.code(), raised.value.details()


def refused(*flags: str | Path) -> tuple[int, str]:
    """Exit code and stderr of a start that must fail at once."""
    done = subprocess.run([str(COMMAND), *map(str, flags)], capture_output=True, text=True, timeout=60, check=False)
    assert not done.stdout
    return done.returncode, done.stderr


@contextlib.contextmanager
def running_server(
    base_path: Path | None, log: Path, *flags: str, credentials: grpc.ChannelCredentials | None = None
) -> Iterator[ModelServer]:
    """A server of one model, or without `base_path` of those that `flags` name; it must stop with code 0.

    Its clients use TLS when there are `credentials`.
    """
    port, rest_port = free_port(), free_port()
    one_model = [f"--model_name={MODEL}", f"--model_base_path={base_path}"] if base_path else []
    command = [str(COMMAND), f"--port={port}", f"--rest_api_port={rest_port}", *one_model, *flags]
    with log.open("wb") as stderr:
        process = subprocess.Popen(command, stderr=stderr)
    server = ModelServer(process, port, rest_port, log, credentials)
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
