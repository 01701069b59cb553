"""What the server refuses and what it ends: too much at once, too large, too late."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import probemodels
import pytest
import tensorflow as tf
from embedded_server import ModelServer, model_spec, running_server, status_of
from grpc_health.v1 import health_pb2, health_pb2_grpc
from processes import DEADLINE_SECONDS, wait_until
from tensorflow_serving.apis import classification_pb2, predict_pb2, prediction_service_pb2_grpc

ONE = {"x": np.ones(1, np.float32)}
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
HUNDRED_MEGABYTES = 25_000_000 * 4
# Endless work must not keep others from theirs.
THREADS = "--tensorflow_inter_op_parallelism=8"


@pytest.fixture(scope="module")
def base_path(tmp_path_factory) -> Path:
    base_path = tmp_path_factory.mktemp("models")
    probemodels.write_probe(base_path / "1")
    return base_path


@pytest.fixture(scope="module")
def unlimited(base_path, tmp_path_factory) -> Iterator[ModelServer]:
    log = tmp_path_factory.mktemp("unlimited") / "server.log"
    with running_server(base_path, log, "--enable_serialization_as_tensor_content", THREADS) as server:
        yield server


@pytest.fixture(scope="module")
def one_second(base_path, tmp_path_factory) -> Iterator[ModelServer]:
    """As long as a REST request may take: for requests that never end, or are small."""
    log = tmp_path_factory.mktemp("one_second") / "server.log"
    with running_server(base_path, log, "--rest_api_timeout_in_ms=1000", THREADS) as server:
        yield server


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("two_threads")


@pytest.fixture(scope="module")
def two_threads(base_path, folder) -> Iterator[ModelServer]:
    monitoring = folder / "monitoring.config"
    monitoring.write_text("prometheus_config { enable: true, path: '/metrics' }")
    limits = (
        f"--access_log={folder / 'access.log'}",
        f"--monitoring_config_file={monitoring}",
        "--grpc_max_threads=2",
        "--max_request_bytes=100000",
        "--max_image_pixels=1000",
        "--enable_grpc_healthcheck_service",
    )
    with running_server(base_path, folder / "server.log", *limits, THREADS) as server:
        yield server


@pytest.fixture(scope="module")
def two_requests(base_path, tmp_path_factory) -> Iterator[ModelServer]:
    log = tmp_path_factory.mktemp("two_requests") / "server.log"
    with running_server(base_path, log, "--max_concurrent_requests=2", THREADS) as server:
        yield server


def grpc_run(server: ModelServer, signature_name: str, values: Sequence[float] = (1,)) -> dict[str, list[float]]:
    response = server.predict({"x": np.array(values, np.float32)}, signature_name)
    return {name: tf.make_ndarray(tensor).tolist() for name, tensor in response.outputs.items()}


def rest_run(server: ModelServer, signature_name: str, values: Sequence[float] = (1,)) -> dict[str, list[float]]:
    response = server.post({"signature_name": signature_name, "inputs": {"x": list(values)}})
    assert response.status_code == 200, response.text
    outputs = response.json()["outputs"]
    return outputs if isinstance(outputs, dict) else {"": outputs}


@contextlib.contextmanager
def held(server: ModelServer, count: int, run, other_run) -> Iterator[None]:
    """So many calls that wait in the model, made by one transport; by the other they are let go, and must answer."""
    before = other_run(server, "told")["held"][0]
    with ThreadPoolExecutor(count) as pool:
        calls = [pool.submit(run, server, "hold") for _ in range(count)]
        try:
            wait_until(lambda: other_run(server, "told")["held"][0] == before + count, f"{count} calls in the model")
            yield
        finally:
            other_run(server, "let_go", range(count))
        numbers = [next(iter(call.result(DEADLINE_SECONDS).values()))[0] for call in calls]
    assert sorted(numbers) == list(range(count))


def test_a_call_beyond_the_threads_is_refused_at_once(two_threads):
    with held(two_threads, 2, grpc_run, rest_run):
        for _ in range(3):
            assert status_of(lambda: two_threads.predict(ONE)) == (EXHAUSTED, "Server Threadpool Exhausted")
        assert rest_run(two_threads, "serving_default") == {"": [2.5]}
        health = health_pb2_grpc.HealthStub(two_threads.channel)
        assert health.Check(health_pb2.HealthCheckRequest(), timeout=DEADLINE_SECONDS).status == 1
    # The thread is free a moment after the answer has gone out.
    wait_until(lambda: answers(two_threads), "calls are taken again")


def test_refused_calls_are_logged_and_counted(two_threads, folder):
    count = ':tensorflow:serving:request_count{model_name="",status="RESOURCE_EXHAUSTED"} '
    with held(two_threads, 2, grpc_run, rest_run):
        before = two_threads.get("/metrics").text.partition(count)[2].partition("\n")[0]
        metadata = [("x-request-id", "refused")]
        request = predict_pb2.PredictRequest(model_spec=model_spec())
        status_of(lambda: two_threads.prediction.Predict(request, DEADLINE_SECONDS, metadata))
        after = two_threads.get("/metrics").text.partition(count)[2].partition("\n")[0]
    assert float(after) == float(before or 0) + 1
    lines = [json.loads(line) for line in (folder / "access.log").read_text().splitlines()]
    [line] = [line for line in lines if line.get("request_id") == "refused"]
    assert (line["method"], line["code"], line["error"]) == (
        "Predict",
        "RESOURCE_EXHAUSTED",
        "Server Threadpool Exhausted",
    )


def answers(server: ModelServer) -> bool:
    try:
        return grpc_run(server, "serving_default") == {"y": [2.5]}
    except grpc.RpcError as error:
        assert error.code() is EXHAUSTED
        return False


def test_more_requests_than_told_are_refused_by_grpc(two_requests):
    with held(two_requests, 2, grpc_run, rest_run):
        code, message = status_of(lambda: two_requests.predict(ONE))
        assert (code, "More than 2 requests are in flight" in message) == (EXHAUSTED, True), message
    wait_until(lambda: answers(two_requests), "calls are taken again")


def test_as_many_clients_as_may_be_in_flight_are_never_refused(two_requests):
    def ask(_: int) -> list[dict[str, list[float]]]:
        return [grpc_run(two_requests, "serving_default") for _ in range(500)]

    with ThreadPoolExecutor(2) as pool:
        for answers in pool.map(ask, range(2)):
            assert answers == [{"y": [2.5]}] * 500


def test_more_requests_than_told_are_refused_by_rest(two_requests):
    with held(two_requests, 2, rest_run, grpc_run):
        response = two_requests.post({"instances": [1]})
        assert (response.status_code, response.headers["Retry-After"]) == (429, "1")
        assert "More than 2 requests are in flight" in response.json()["error"]
    wait_until(lambda: two_requests.post({"instances": [1]}).status_code == 200, "requests are taken again")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="reads /proc, and is about glibc's way with memory")
def test_the_memory_of_large_requests_is_given_back(unlimited):
    def megabytes() -> float:
        pages = int(Path(f"/proc/{unlimited.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    before = megabytes()
    body = json.dumps({"inputs": [0.125] * 1_000_000}).encode()
    with ThreadPoolExecutor(4) as pool:
        responses = list(pool.map(lambda _: unlimited.post(body), range(12)))
    assert [response.status_code for response in responses] == [200] * 12
    wait_until(lambda: megabytes() < before + 200, "the memory is given back")


def test_two_hundred_clients_at_once(unlimited):
    before = rest_run(unlimited, "told")["held"][0]
    waiting = threading.Barrier(201)
    request = predict_pb2.PredictRequest(model_spec=model_spec(signature_name="hold"))
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(ONE["x"]))

    def ask(_: int) -> int:
        # A connection of its own, which channels to one address would share.
        with grpc.insecure_channel(f"127.0.0.1:{unlimited.port}", [("grpc.use_local_subchannel_pool", 1)]) as channel:
            grpc.channel_ready_future(channel).result(DEADLINE_SECONDS)
            waiting.wait(DEADLINE_SECONDS)
            response = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, DEADLINE_SECONDS)
            return int(tf.make_ndarray(response.outputs["number"])[0])

    with ThreadPoolExecutor(200) as pool:
        calls = pool.map(ask, range(200))
        waiting.wait(DEADLINE_SECONDS)
        wait_until(lambda: rest_run(unlimited, "told")["held"][0] > before, "calls wait in the model")
        rest_run(unlimited, "let_go", range(200))
        assert sorted(calls) == list(range(200))


def test_a_message_that_is_too_long(two_threads):
    long = np.ones(30_000, np.float32)
    code, message = status_of(lambda: two_threads.predict({"x": long}))
    assert (code, "larger than max" in message) == (EXHAUSTED, True), message
    response = two_threads.post({"instances": long.tolist()})
    assert (response.status_code, "error" in response.json()) == (413, True)
    assert len(two_threads.predict({"x": long[:20_000]}).outputs["y"].float_val) == 20_000


def classify(server: ModelServer, picture: bytes) -> bytes:
    request = classification_pb2.ClassificationRequest(model_spec=model_spec(signature_name="classify"))
    example = request.input.example_list.examples.add()
    example.features.feature["image"].bytes_list.value.append(picture)
    response = server.prediction.Classify(request, timeout=DEADLINE_SECONDS)
    return response.result.classifications[0].classes[0].label


def predict_string(server: ModelServer, picture: bytes) -> bytes:
    return server.predict({"text": [picture]}, "strings").outputs["text"].string_val[0]


@pytest.mark.parametrize("format", ["PNG", "JPEG", "GIF", "BMP"])
def test_a_picture_that_is_too_large(two_threads, encode, format):
    small, large = encode("RGB", format, (40, 25)), encode("RGB", format, (40, 26))
    refusal = grpc.StatusCode.INVALID_ARGUMENT
    for code, message in (
        status_of(lambda: predict_string(two_threads, large)),
        status_of(lambda: classify(two_threads, large)),
    ):
        assert (code, "40 x 26 pixels; this server takes at most 1000" in message) == (refusal, True), message
    assert predict_string(two_threads, small) == small
    assert predict_string(two_threads, b"no picture") == b"no picture"


def test_a_hundred_megabytes_each_way_as_they_are(unlimited):
    values = np.arange(HUNDRED_MEGABYTES // 4, dtype=np.float32)
    output = unlimited.predict({"x": values}).outputs["y"]
    assert not output.float_val
    assert len(output.tensor_content) == HUNDRED_MEGABYTES
    np.testing.assert_array_equal(np.frombuffer(output.tensor_content, np.float32), values / 2 + 2)


def test_ten_megabytes_back_in_typed_fields(two_requests):
    values = np.arange(2_500_000, dtype=np.float32)
    output = two_requests.predict({"x": values}).outputs["y"]
    assert not output.tensor_content
    np.testing.assert_array_equal(tf.make_ndarray(output), values / 2 + 2)


def stands_still(server: ModelServer) -> None:
    """Until endless work has been ended: it counts on between ten questions, even where the machine is busy."""
    wait_until(lambda: len({tuple(rest_run(server, "told")["turns"]) for _ in range(10)}) == 1, "the work has ended")


def test_work_ends_with_the_deadline_of_its_call(two_threads):
    """Both threads are taken by work without end, and free again once nobody waits for it."""
    before = rest_run(two_threads, "told")["turns"][0]
    with ThreadPoolExecutor(2) as pool:
        late = [pool.submit(two_threads.predict, ONE, "spin", timeout=0.5) for _ in range(2)]
        errors = [call.exception(DEADLINE_SECONDS) for call in late]
    assert [error.code() for error in errors] == [grpc.StatusCode.DEADLINE_EXCEEDED] * 2
    assert rest_run(two_threads, "told")["turns"][0] > before
    stands_still(two_threads)
    wait_until(lambda: answers(two_threads), "a thread is free")


def test_work_ends_with_the_time_a_rest_request_may_take(one_second):
    before = grpc_run(one_second, "told")["turns"][0]
    response = one_second.post({"signature_name": "spin", "inputs": {"x": [1]}})
    assert response.status_code == 504
    assert "Timed out waiting for notification" in response.json()["error"]
    assert grpc_run(one_second, "told")["turns"][0] > before
    stands_still(one_second)
