"""examples/service.py as its callers see it: in a process of its own, over HTTP, with real model servers."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
import requests
from client_processes import running
from client_servers import MODEL
from client_standins import PREDICT, GrpcStandin
from processes import DEADLINE_SECONDS, free_port, wait_until

from vitrine_client import ServerError

pytest.importorskip("fastapi")
SERVICE = Path(__file__).parents[2] / "examples" / "service.py"
MAX_BYTES = 10 * 1024**2
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@contextmanager
def running_service(log: Path, target: str, model: str = MODEL, timeout: str = "30") -> Iterator[str]:
    """The service's address, as soon as it is live. Whatever it was asked, no traceback is in its log."""
    port = free_port()
    settings = {"VITRINE_GRPC": target, "VITRINE_MODEL": model, "VITRINE_TIMEOUT": timeout, "PORT": str(port)}
    with log.open("wb") as file:
        process = subprocess.Popen([sys.executable, SERVICE], env={**os.environ, **settings}, stdout=file, stderr=file)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: process.poll() is not None or status_of(f"{url}/healthz") == 200, "a live service")
        assert process.poll() is None, log.read_text()
        yield url
    finally:
        process.terminate()
        process.wait(DEADLINE_SECONDS)
    assert "Traceback" not in log.read_text()


def status_of(url: str) -> int:
    """The status of an answer; 0 where nothing answers."""
    try:
        return requests.get(url, timeout=30).status_code
    except requests.ConnectionError:
        return 0


def post(url: str, content: bytes | Iterator[bytes], **headers: str) -> requests.Response:
    return requests.post(url, data=content, headers=headers, timeout=60)


@pytest.fixture(scope="module")
def service(server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The service in front of the real server, ready."""
    with running_service(tmp_path_factory.mktemp("service") / "log", server.grpc) as url:
        wait_until(lambda: status_of(f"{url}/readyz") == 200, "a ready service")
        yield url


@pytest.fixture
def standin_service(grpc_standin: GrpcStandin, tmp_path: Path) -> Iterator[str]:
    with running_service(tmp_path / "log", grpc_standin.target) as url:
        yield url


def test_a_picture_gets_the_model_s_labels(service: str, server, picture: bytes):
    answer = post(f"{service}/classify", picture)
    with server.client("grpc") as client:
        [expected] = client.classify([picture])
    best = [{"label": label, "score": score} for label, score in expected.top]
    assert (answer.status_code, answer.json()) == (
        200,
        {"label": best[0]["label"], "score": best[0]["score"], "top": best},
    )


def test_as_many_labels_as_asked_for(service: str, picture: bytes):
    assert len(post(f"{service}/classify?top=2", picture).json()["top"]) == 2
    assert post(f"{service}/classify?top=0", picture).status_code == 422


def test_a_broken_picture_is_400_with_the_reason_and_without_the_model_server_s_address(
    service: str, server, encode: Callable[..., bytes]
):
    cut_off = encode("RGB", "JPEG", size=(64, 64))[:700]
    answer = post(f"{service}/classify", cut_off, **{"x-request-id": "from-the-caller"})
    assert (answer.status_code, answer.headers["x-request-id"]) == (400, "from-the-caller")
    assert answer.json()["request_id"] == "from-the-caller"
    assert "a picture of 700 bytes cannot be decoded" in answer.json()["detail"]
    assert server.grpc not in answer.text


def test_no_picture_at_all_is_400(service: str):
    answer = post(f"{service}/classify", b"")
    assert (answer.status_code, "no bytes" in answer.json()["detail"]) == (400, True)


def test_a_header_that_cannot_be_passed_on_is_left_out(service: str, picture: bytes):
    for wrong in ("é", "two words", "a\tb"):
        answer = post(f"{service}/classify", picture, **{"x-request-id": wrong, "traceparent": "é"})
        assert answer.status_code == 200
        assert len(answer.headers["x-request-id"]) == 32


def test_a_picture_too_large_is_413_before_all_of_it_has_come(service: str, picture: bytes):
    host, port = service.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(b"POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000000\r\n\r\n")
        connection.sendall(b"\0" * (MAX_BYTES + 1))
        assert connection.recv(1000).startswith(b"HTTP/1.1 413 ")
    assert post(f"{service}/classify", picture).status_code == 200


def test_a_picture_too_large_is_413_where_nobody_said_how_large(service: str):
    pieces = (b"\0" * 1024**2 if number < 10 else b"\0" for number in range(11))
    answer = post(f"{service}/classify", pieces)
    assert (answer.status_code, answer.json()["detail"]) == (413, f"the picture is larger than {MAX_BYTES} bytes")


def test_a_caller_who_hangs_up_harms_nobody(service: str, picture: bytes):
    host, port = service.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(b"POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\npart")
    assert post(f"{service}/classify", picture).status_code == 200


def test_an_unknown_model_is_502_and_not_ready(server, tmp_path: Path, picture: bytes):
    with running_service(tmp_path / "log", server.grpc, model="nonesuch") as url:
        answer = post(f"{url}/classify", picture)
        assert (answer.status_code, answer.json()["detail"]) == (502, "no such model or version")
        assert answer.json()["request_id"] == answer.headers["x-request-id"]
        assert (status_of(f"{url}/readyz"), status_of(f"{url}/healthz")) == (503, 200)
    assert "nonesuch" in (tmp_path / "log").read_text()


def test_a_model_server_that_goes_and_comes_back(tmp_path: Path, picture: bytes):
    with running() as [model_server], running_service(tmp_path / "log", model_server.grpc) as url:
        wait_until(lambda: status_of(f"{url}/readyz") == 200, "a ready service")
        model_server.kill()
        wait_until(lambda: status_of(f"{url}/readyz") == 503, "a service that is not ready")
        answer = post(f"{url}/classify", picture)
        assert (answer.status_code, answer.json()["detail"]) == (503, "cannot be reached or cannot answer now")
        assert status_of(f"{url}/healthz") == 200
        model_server.start()
        wait_until(lambda: status_of(f"{url}/readyz") == 200, "a service that is ready again")


def test_an_overloaded_model_server_is_429_with_a_time_to_come_back(
    standin_service: str, grpc_standin: GrpcStandin, picture: bytes
):
    grpc_standin.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "queue full")
    answer = post(f"{standin_service}/classify", picture)
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "1")


def test_a_model_server_that_fails_is_502(standin_service: str, grpc_standin: GrpcStandin, picture: bytes):
    grpc_standin.abort(grpc.StatusCode.INTERNAL, "no memory at 0x1234")
    answer = post(f"{standin_service}/classify", picture)
    assert (answer.status_code, answer.json()["detail"]) == (502, ServerError.summary)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("FAILED_PRECONDITION", 'Serving signature name: "serving_default" not found in signature def'),
        ("INVALID_ARGUMENT", "Unrecognized servable version label: stable"),
    ],
)
def test_what_the_service_itself_asks_wrongly_is_502(
    grpc_standin: GrpcStandin, tmp_path: Path, picture: bytes, code: str, said: str
):
    grpc_standin.abort(grpc.StatusCode[code], said)
    with running_service(tmp_path / "log", grpc_standin.target) as url:
        answer = post(f"{url}/classify", picture)
    assert (answer.status_code, answer.json()["detail"]) == (502, "this service asks its model wrongly")
    assert said in (tmp_path / "log").read_text()


def test_a_picture_that_only_the_model_server_finds_broken_is_400(
    standin_service: str, grpc_standin: GrpcStandin, picture: bytes
):
    grpc_standin.abort(grpc.StatusCode.INVALID_ARGUMENT, "Invalid PNG data, size 1234")
    answer = post(f"{standin_service}/classify", picture)
    assert (answer.status_code, "Invalid PNG data" in answer.json()["detail"]) == (400, True)


def test_no_answer_in_time_is_504(grpc_standin: GrpcStandin, tmp_path: Path, picture: bytes):
    ended = threading.Event()
    grpc_standin.answer = lambda path, request, context: bytes(ended.wait(DEADLINE_SECONDS))
    with running_service(tmp_path / "log", grpc_standin.target, timeout="0.5") as url:
        answer = post(f"{url}/classify", picture)
        ended.set()
    assert (answer.status_code, answer.json()["detail"]) == (504, "no answer in time")


def test_the_caller_s_trace_goes_on_to_the_model_server(
    standin_service: str, grpc_standin: GrpcStandin, picture: bytes
):
    seen: list[dict[str, str]] = []

    def answer(path: str, request: bytes, context: grpc.ServicerContext) -> bytes:
        if path == PREDICT:
            seen.append(dict(context.invocation_metadata()))
        return b""

    grpc_standin.answer = answer
    post(f"{standin_service}/classify", picture, **{"x-request-id": "abc", "traceparent": TRACE})
    too_long = post(f"{standin_service}/classify", picture, **{"x-request-id": "x" * 20_000})
    assert (seen[0]["x-request-id"], seen[0]["traceparent"]) == ("abc", TRACE)
    assert seen[1]["x-request-id"] == too_long.headers["x-request-id"] != "x" * 20_000
