"""What goes wrong at the edges of a call: proxies, secrets, credentials, versions that change, clients that close."""

from __future__ import annotations

import asyncio
import io
import json
import threading
from pathlib import Path
from typing import Any, get_type_hints

import grpc
import numpy as np
import pytest
import requests
from certificates import Authority
from client_standins import PICTURE, GrpcStandin, RestStandin, skip_pauses
from processes import DEADLINE_SECONDS
from requests.adapters import HTTPAdapter

from vitrine_client import (
    TLS,
    AsyncGrpcClient,
    BadResponse,
    DeadlineExceeded,
    GrpcClient,
    InvalidInput,
    RestClient,
    ServerError,
    Unavailable,
)

X = {"x": np.ones((2, 2), np.float32)}


@pytest.mark.parametrize("client", [GrpcClient, RestClient])
def test_a_token_that_is_not_there_is_not_sent(client: Any):
    with client("localhost:1", model="m", token=lambda: None) as asking, pytest.raises(InvalidInput, match="token"):
        asking.status()


def test_passwords_in_addresses_are_not_shown(closed_port: int):
    with RestClient(f"http://user:sekret@localhost:{closed_port}", model="m", retries=0) as client:
        assert "sekret" not in repr(client)
        with pytest.raises(Unavailable) as info:
            client.status()
    assert "sekret" not in str(info.value)


def test_the_environment_does_not_choose_whom_to_trust(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Requests are kept from leaving, since only addresses elsewhere heed the environment."""

    class Kept(HTTPAdapter):
        def send(self, request: Any, verify: Any = None, **options: Any) -> Any:
            trusted.append(verify)
            raise requests.exceptions.SSLError("kept")

    trusted: list[Any] = []
    certificate = Authority(tmp_path, "ours").certificate
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "elsewhere.pem"))
    with RestClient("https://models.example", model="m", tls=TLS(ca=certificate)) as client:
        client._session._session.mount("https://", Kept())
        with pytest.raises(Unavailable):
            client.status()
    assert trusted == [str(certificate)]


def test_grpc_does_not_go_to_this_machine_by_way_of_a_proxy(
    grpc_standin: GrpcStandin, closed_port: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("http_proxy", f"http://localhost:{closed_port}")
    monkeypatch.delenv("no_proxy", raising=False)
    with GrpcClient(grpc_standin.target, model="m", retries=0) as client:
        assert client.status().versions == ()


@pytest.mark.parametrize("status", [401, 503])
def test_models_that_cannot_be_asked_for_are_not_a_missing_list(rest_standin: RestStandin, status: int):
    rest_standin.status, rest_standin.body = status, b'{"error": "the server\'s words"}'
    with RestClient(rest_standin.address, model="m", retries=0) as client:
        with pytest.raises((ServerError, Unavailable), match="the server's words") as info:
            client.models()
        assert "--rest_api_extensions" not in str(info.value)
        assert info.value.request_id
        rest_standin.status = 404
        with pytest.raises(ServerError, match=r"--rest_api_extensions.*the server's words"):
            client.models()


@pytest.mark.parametrize("target", ["localhost", "localhost:99999", "grpc://localhost:8500", "localhost:", ":8500"])
def test_a_target_is_a_host_and_a_port(target: str):
    with pytest.raises(InvalidInput, match="host:port"):
        GrpcClient(target, model="m")


def test_a_message_over_the_servers_limit_is_invalid_input(grpc_standin: GrpcStandin):
    grpc_standin.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "Received message larger than max (9 vs. 4)")
    with GrpcClient(grpc_standin.target, model="m", retries=0) as client, pytest.raises(InvalidInput):
        client.predict(X)


def test_a_missing_output_is_no_missing_signature(server):
    inputs = {"numbers": np.ones((1, 2), np.float32), "text": ["a"]}
    with server.client("grpc") as client, pytest.raises(InvalidInput) as info:
        client.predict(inputs, "dtypes", output_filter=["nonsense"])
    assert "has the signatures" not in str(info.value)


def test_what_came_of_an_answer_has_its_requests_id(grpc_standin: GrpcStandin):
    grpc_standin.answer = lambda path, request, context: b""
    with GrpcClient(grpc_standin.target, model="m") as client, pytest.raises(BadResponse) as info:
        client.classify([PICTURE], headers={"x-request-id": "mine"})
    assert info.value.request_id == "mine"


def test_calls_under_way_when_a_client_is_closed_say_so(grpc_standin: GrpcStandin):
    reached, held = threading.Event(), threading.Event()

    def answer(path: str, request: bytes, context: grpc.ServicerContext) -> bytes:
        reached.set()
        held.wait(DEADLINE_SECONDS)
        return b""

    grpc_standin.answer = answer
    errors: list[BaseException] = []

    def ask() -> None:
        try:
            client.status()
        except RuntimeError as error:
            errors.append(error)

    client = GrpcClient(grpc_standin.target, model="m")
    asking = threading.Thread(target=ask)
    asking.start()
    try:
        assert reached.wait(DEADLINE_SECONDS)
        client.close()
        asking.join(DEADLINE_SECONDS)
    finally:
        held.set()
    assert [type(error) for error in errors] == [RuntimeError]


def test_waiting_looks_once_more_before_it_gives_up(rest_standin: RestStandin, monkeypatch: pytest.MonkeyPatch):
    def status(state: str) -> bytes:
        status = {"error_code": "OK", "error_message": ""}
        return json.dumps({"model_version_status": [{"version": "3", "state": state, "status": status}]}).encode()

    rest_standin.body = status("LOADING")
    skip_pauses(monkeypatch)
    with RestClient(rest_standin.address, model="m") as client:
        with pytest.raises(DeadlineExceeded, match="LOADING"):
            client.wait_until_available(timeout=DEADLINE_SECONDS)
        looks = len(rest_standin.asked)
        rest_standin.body = status("AVAILABLE")
        assert client.wait_until_available(timeout=DEADLINE_SECONDS) == 3
    assert looks >= 3


def test_rest_takes_a_new_versions_dtypes(rest_standin: RestStandin, monkeypatch: pytest.MonkeyPatch):
    def metadata(dtype: str) -> bytes:
        output = {"dtype": dtype, "tensor_shape": {"dim": [{"size": "-1"}]}}
        signature = {"inputs": {}, "outputs": {"y": output}, "method_name": "tensorflow/serving/predict"}
        spec = {"name": "m", "version": "1"}
        signatures = {"signature_def": {"serving_default": signature}}
        return json.dumps({"model_spec": spec, "metadata": {"signature_def": signatures}}).encode()

    rest_standin.body = b'{"outputs": [16777217]}'
    rest_standin.bodies["/metadata"] = metadata("DT_FLOAT")
    with RestClient(rest_standin.address, model="m") as client:
        assert client.predict(X)["y"].dtype == np.float32
        rest_standin.bodies["/metadata"] = metadata("DT_INT64")
        monkeypatch.setattr("vitrine_client.rest._SIGNATURE_SECONDS", 0.0)
        assert client.predict(X)["y"].tolist() == [16777217]


def test_a_refused_token_ends_bulk_classification(grpc_standin: GrpcStandin):
    asked: list[str] = []

    def answer(path: str, request: bytes, context: grpc.ServicerContext) -> bytes:
        asked.append(path)
        context.abort(grpc.StatusCode.UNAUTHENTICATED, "no token")

    grpc_standin.answer = answer
    with GrpcClient(grpc_standin.target, model="m") as client, pytest.raises(ServerError, match="no token"):
        list(client.classify_many([PICTURE] * 500, on_error="skip"))
    assert len(asked) < 50


def test_reading_a_picture_does_not_outlast_the_call(grpc_standin: GrpcStandin):
    held = threading.Event()

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            held.wait(DEADLINE_SECONDS)
            return super().read(size)

    async def ask() -> None:
        async with AsyncGrpcClient(grpc_standin.target, model="m") as client:
            try:
                await client.classify([Slow(PICTURE)], timeout=0.3)
            finally:
                held.set()

    with pytest.raises(DeadlineExceeded, match="not read"):
        asyncio.run(ask())


@pytest.mark.parametrize("timeout", [np.int64(5), np.float32(2.5)])
def test_numbers_of_numpy_are_seconds_too(grpc_standin: GrpcStandin, timeout: Any):
    with GrpcClient(grpc_standin.target, model="m", timeout=timeout) as client:
        assert client.status(timeout=timeout).versions == ()


@pytest.mark.parametrize("method", ["classify", "classify_many", "features", "predict", "__init__"])
@pytest.mark.parametrize("client", [GrpcClient, AsyncGrpcClient, RestClient])
def test_annotations_can_be_looked_up(client: Any, method: str):
    assert "timeout" in get_type_hints(getattr(client, method))
