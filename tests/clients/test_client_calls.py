"""What a call does besides asking: labels, parts of large batches, what the server has instead, models, reloads."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from client_servers import Server, running_server
from client_standins import METADATA, PICTURE, PREDICT, GrpcStandin, RestStandin
from processes import DEADLINE_SECONDS
from tensorflow_serving.apis import predict_pb2

from vitrine_client import (
    AsyncGrpcClient,
    BadResponse,
    Client,
    DeadlineExceeded,
    GrpcClient,
    InvalidInput,
    ModelConfig,
    ModelNotFound,
    RestClient,
    ServerError,
    VitrineError,
    flows,
)
from vitrine_client.splitting import joined, parts
from vitrine_client.wire import config_pb2, status_pb2


def doubled(limit: int, sizes: list[int], static: bool = False):
    """A model y = 2 x with x of at most `limit` rows."""
    lock = threading.Lock()

    def answer(path: str, request: bytes, context: grpc.ServicerContext) -> bytes:
        x = tf.make_ndarray(predict_pb2.PredictRequest.FromString(request).inputs["x"])
        with lock:
            sizes.append(len(x))
        if len(x) > limit:
            message = f"Task size {len(x)} is larger than maximum input batch size {limit}"
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, message)
        response = predict_pb2.PredictResponse()
        response.outputs["y"].CopyFrom(tf.make_tensor_proto(np.zeros(3, np.float32) if static else 2 * x))
        return response.SerializeToString()

    return answer


X = np.arange(50, dtype=np.float32).reshape(25, 2)


def test_a_batch_larger_than_the_server_allows_goes_in_parts(grpc_standin: GrpcStandin):
    sizes: list[int] = []
    grpc_standin.answer = doubled(8, sizes)
    with GrpcClient(grpc_standin.target, model="m") as client:
        np.testing.assert_array_equal(client.predict({"x": X})["y"], 2 * X)
        assert (sizes[0], sorted(sizes[1:])) == (25, [6, 6, 6, 7])
        # What was learnt is kept.
        np.testing.assert_array_equal(client.predict({"x": X[:9]})["y"], 2 * X[:9])
        assert sorted(sizes[5:]) == [4, 5]
        # A server that allows even less from now on.
        grpc_standin.answer = doubled(3, sizes)
        np.testing.assert_array_equal(client.predict({"x": X})["y"], 2 * X)


def test_a_given_size_is_kept_to_from_the_first_request_on(grpc_standin: GrpcStandin):
    sizes: list[int] = []
    grpc_standin.answer = doubled(100, sizes)

    async def ask() -> np.ndarray:
        async with AsyncGrpcClient(grpc_standin.target, model="m", max_batch_size=10) as client:
            return (await client.predict({"x": X}))["y"]

    np.testing.assert_array_equal(asyncio.run(ask()), 2 * X)
    assert sorted(sizes) == [8, 8, 9]


def test_parts_that_nobody_can_put_together_are_told(grpc_standin: GrpcStandin):
    grpc_standin.answer = doubled(8, [], static=True)
    with GrpcClient(grpc_standin.target, model="m") as client:
        with pytest.raises(BadResponse, match="output 'y' is not one row for each"):
            client.predict({"x": X})
        with pytest.raises(InvalidInput, match="larger than maximum input batch size 8"):
            client.predict({"x": X, "k": np.float32(1)})


def test_parts_are_even_and_come_back_whole():
    for size in range(1, 40):
        for limit in range(1, 12):
            slices = parts(size, limit)
            lengths = [part.stop - part.start for part in slices]
            assert sum(lengths) == size
            assert max(lengths) <= limit
            assert max(lengths) - min(lengths) <= 1
            rows = np.arange(size)
            np.testing.assert_array_equal(joined([{"y": rows[part]} for part in slices], lengths)["y"], rows)


@pytest.mark.parametrize("kind", [GrpcClient, RestClient])
def test_pictures_go_in_parts_too(server, encode: Callable[..., bytes], kind: Callable[..., Client]):
    address = server.grpc if kind is GrpcClient else server.rest
    pictures = [encode(seed=seed) for seed in range(5)]
    with kind(address, model="shapes") as whole, kind(address, model="shapes", max_batch_size=2) as split:
        expected, predictions = whole.classify(pictures), split.classify(pictures)
    assert [p.label for p in predictions] == [p.label for p in expected]
    # Pictures of one label differ in its score.
    assert [p.score for p in predictions] == pytest.approx([p.score for p in expected])


def test_rest_requests_have_no_more_pictures_than_allowed(rest_standin: RestStandin):
    rest_standin.body = b'{"outputs": {"labels": [["rose"], ["tulip"]], "scores": [[1.0], [1.0]]}}'
    with RestClient(rest_standin.address, model="m", max_batch_size=2) as client:
        assert [p.label for p in client.classify([PICTURE] * 4)] == ["rose", "tulip", "rose", "tulip"]
    assert [body.count(b'"b64"') for _, _, body in rest_standin.asked] == [2, 2]


@pytest.fixture
def labelled(grpc_standin: GrpcStandin) -> Iterator[list[predict_pb2.PredictRequest]]:
    asked: list[predict_pb2.PredictRequest] = []

    def answer(path: str, request: bytes, context: grpc.ServicerContext) -> bytes:
        asked.append(predict_pb2.PredictRequest.FromString(request))
        return b""

    grpc_standin.answer = answer
    yield asked


def test_a_call_chooses_another_version_than_its_client(grpc_standin: GrpcStandin, labelled: list):
    with GrpcClient(grpc_standin.target, model="m", label="stable") as client:
        client.predict({"x": X})
        client.predict({"x": X}, version=3)
        client.predict({"x": X}, label="canary", output_filter=["y"])
        client.predict({"x": X}, output_filter="y")
    specs = [request.model_spec for request in labelled]
    assert [(spec.WhichOneof("version_choice"), spec.version.value, spec.version_label) for spec in specs] == [
        ("version_label", 0, "stable"),
        ("version", 3, ""),
        ("version_label", 0, "canary"),
        ("version_label", 0, "stable"),
    ]
    assert [list(request.output_filter) for request in labelled] == [[], [], ["y"], ["y"]]


def test_rest_asks_for_labels_by_path(rest_standin: RestStandin):
    rest_standin.body = b'{"outputs": {"labels": [["rose"]], "scores": [[1.0]]}}'
    with RestClient(rest_standin.address, model="m", label="très stable") as client:
        client.classify([PICTURE])
        client.classify([PICTURE], version=3)
    assert [path for _, path, _ in rest_standin.asked] == [
        "/v1/models/m/labels/tr%C3%A8s%20stable:predict",
        "/v1/models/m/versions/3:predict",
    ]


@pytest.mark.parametrize("transport", ["grpc", "rest"])
def test_outputs_are_filtered_alike(server, transport: str):
    inputs = {"numbers": np.ones((1, 2), np.float32), "text": ["a"]}
    with server.client(transport) as client:
        assert sorted(client.predict(inputs, "dtypes", output_filter=["bool", "text"])) == ["bool", "text"]
        with pytest.raises(InvalidInput, match="nonsense"):
            client.predict(inputs, "dtypes", output_filter=["bool", "nonsense"])
        for wrong in (5, [""], [None]):
            with pytest.raises((InvalidInput, TypeError)):
                client.predict(inputs, "dtypes", output_filter=wrong)


@pytest.mark.parametrize("transport", ["grpc", "rest"])
def test_errors_tell_what_the_server_has_instead(server, transport: str, picture: bytes):
    with server.client(transport) as client:
        with pytest.raises(InvalidInput, match=r"has the signatures 'dtypes', 'probabilities', 'serving_default'\)"):
            client.classify([picture], "nonsense")
        with pytest.raises(
            ModelNotFound, match=r"of this model the server has (version \d+ \w+( \(.*?\))?, )*version 2 AVAILABLE"
        ):
            client.classify([picture], version=77)
        with pytest.raises(ModelNotFound, match="version 2 AVAILABLE"):
            client.status(version=77)


def test_advice_that_cannot_be_had_leaves_the_error_as_it_is(grpc_standin: GrpcStandin):
    def answer(path: str, request: bytes, context: grpc.ServicerContext) -> bytes:
        if path == PREDICT:
            context.abort(grpc.StatusCode.NOT_FOUND, "Servable not found for request: Latest(m)")
        context.abort(grpc.StatusCode.INTERNAL, "no")

    grpc_standin.answer = answer
    with GrpcClient(grpc_standin.target, model="m") as client, pytest.raises(ModelNotFound) as info:
        client.predict({"x": X})
    assert str(info.value).endswith("Servable not found for request: Latest(m)")


@pytest.mark.parametrize(("timeout", "advice_seconds"), [(1, 2 * DEADLINE_SECONDS), (2 * DEADLINE_SECONDS, 0.2)])
def test_advice_outlasts_neither_the_call_nor_its_own_limit(
    grpc_standin: GrpcStandin, monkeypatch: pytest.MonkeyPatch, timeout: float, advice_seconds: float
):
    monkeypatch.setattr(flows, "_ADVICE_SECONDS", advice_seconds)
    held = threading.Event()
    ended: list[bool] = []

    def answer(path: str, request: bytes, context: grpc.ServicerContext) -> bytes:
        if path == PREDICT:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, 'Serving signature key "x" not found.')
        if path == METADATA:
            ended.append(held.wait(DEADLINE_SECONDS))
        return b""

    grpc_standin.answer = answer
    with GrpcClient(grpc_standin.target, model="m", timeout=timeout) as client:
        # It takes none of the call's time to connect.
        client.status(timeout=DEADLINE_SECONDS)
        try:
            with pytest.raises(InvalidInput, match="not found"):
                client.predict({"x": X})
            assert not ended
        finally:
            held.set()


def test_a_server_without_a_list_of_models_is_told(server):
    for transport, flag in (("grpc", "--enable_grpc_healthcheck_service"), ("rest", "--rest_api_extensions")):
        with server.client(transport) as client, pytest.raises(ServerError, match=flag):
            client.models()


def test_a_refused_reload_is_the_error_that_its_status_says(grpc_standin: GrpcStandin):
    response = config_pb2.ReloadConfigResponse()
    response.status.error_code = status_pb2.INVALID_ARGUMENT
    response.status.error_message = "no such folder"
    grpc_standin.answer = lambda path, request, context: response.SerializeToString()
    with GrpcClient(grpc_standin.target, model="m") as client:
        with pytest.raises(InvalidInput, match=r"^reload_config at .*no such folder"):
            client.reload_config([ModelConfig("m", "/models/m")])
        for wrong in ([], None, ["m"], [ModelConfig("m", "/a"), ModelConfig("m", "/b")]):
            with pytest.raises(InvalidInput, match="models"):
                client.reload_config(wrong)


@pytest.mark.parametrize("transport", ["grpc", "rest"])
def test_models_and_labels_come_by_reload(tmp_path: Path, server, transport: str, picture: bytes):
    versions = str(two_versions(server, tmp_path))
    flags = ["--rest_api_extensions", "--enable_grpc_healthcheck_service"]
    with (
        running_server(versions, tmp_path, *flags) as other,
        other.client("grpc") as reloading,
        other.client(transport) as client,
        other.client(transport, model="nope") as mistaken,
    ):
        assert [(status.model, status.available) for status in client.models()] == [("shapes", (3,))]
        with pytest.raises(ModelNotFound, match="the server has the models 'shapes'"):
            mistaken.classify([picture])
        forms = ModelConfig("forms", versions, latest=1)
        reloading.reload_config([ModelConfig("shapes", versions, specific=(2, 3)), forms])
        reloading.wait_until_available(version=2)
        reloading.reload_config([ModelConfig("shapes", versions, specific=(2, 3), labels={"stable": 2}), forms])
        assert [status.model for status in client.models()] == ["forms", "shapes"]
        assert client.classify([picture], label="stable") == client.classify([picture], version=2)
        assert client.metadata(label="stable").version == 2
        assert client.status(label="stable").available == (2,)
        assert client.wait_until_available(label="stable", timeout=60) == 2
        for ask in (lambda: client.status(label="canary"), lambda: client.metadata(label="canary")):
            with pytest.raises(InvalidInput, match="canary"):
                ask()
        with pytest.raises(DeadlineExceeded, match=r"last seen: .*canary"):
            client.wait_until_available(label="canary", timeout=0.5)
        with pytest.raises(VitrineError, match="canary"):
            client.classify([picture], label="canary")
        with pytest.raises(VitrineError):
            reloading.reload_config([ModelConfig("shapes", versions, labels={"stable": 99})])
        assert client.classify([picture], label="stable")


def test_waiting_sees_a_label_arrive(tmp_path: Path, server):
    versions = str(two_versions(server, tmp_path))
    with running_server(versions, tmp_path) as other, other.client("grpc") as client, ThreadPoolExecutor() as pool:
        waiting = pool.submit(client.wait_until_available, label="stable", timeout=DEADLINE_SECONDS)
        client.reload_config([ModelConfig("shapes", versions, all=True)])
        client.wait_until_available(version=2)
        client.reload_config([ModelConfig("shapes", versions, all=True, labels={"stable": 2})])
        assert waiting.result() == 2


def two_versions(server: Server, folder: Path) -> Path:
    for version in ("2", "3"):
        shutil.copytree(server.versions / "2", folder / "versions" / version)
    return folder / "versions"


def test_the_asynchronous_client_reloads_and_lists(tmp_path: Path, server):
    async def ask(address: str) -> tuple[list[str], int]:
        async with AsyncGrpcClient(address, model="forms") as client:
            await client.reload_config([ModelConfig("forms", str(server.versions))])
            assert (await client.metadata()).version == 2
            assert (await client.status()).available == (2,)
            return [status.model for status in await client.models()], await client.wait_until_available()

    with running_server(server.versions, tmp_path, "--enable_grpc_healthcheck_service") as other:
        assert asyncio.run(ask(other.grpc)) == (["forms"], 2)
