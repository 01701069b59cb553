"""`--enable_batching` as clients of a server see it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import probemodels
import pytest
import tensorflow as tf
from embedded_server import MODEL, ModelServer, model_spec, refused, running_server, status_of
from modelconfigs import model_list, write_model_list
from processes import DEADLINE_SECONDS, free_port
from tensorflow_serving.apis import predict_pb2

PARAMETERS = """
max_batch_size { value: 8 } batch_timeout_micros { value: 3000000 } allowed_batch_sizes: 4 allowed_batch_sizes: 8
num_batch_threads { value: 1 } max_enqueued_batches { value: 1 }
"""


@pytest.fixture(scope="module")
def probe(tmp_path_factory) -> Path:
    return probemodels.write_probe(tmp_path_factory.mktemp("written") / "1")


@pytest.fixture(scope="module")
def server(probe, tmp_path_factory) -> Iterator[ModelServer]:
    folder = tmp_path_factory.mktemp("batching")
    (folder / "batching.config").write_text(PARAMETERS)
    (folder / "monitoring.config").write_text("prometheus_config { enable: true }")
    with running_server(
        probe.parent,
        folder / "server.log",
        "--enable_batching",
        f"--batching_parameters_file={folder / 'batching.config'}",
        f"--monitoring_config_file={folder / 'monitoring.config'}",
    ) as running:
        yield running


def sizes(server: ModelServer, rows: int, model: str = MODEL) -> list[int]:
    """What each row of a request was told of its batch."""
    response = server.predict({"x": np.ones(rows, np.float32)}, "batch", model=model)
    return tf.make_ndarray(response.outputs["size"]).tolist()


def together(ask, *arguments) -> list:
    with ThreadPoolExecutor(len(arguments)) as pool:
        return list(pool.map(ask, arguments))


def test_requests_at_once_share_a_batch(server):
    assert together(lambda rows: sizes(server, rows), *[1] * 8) == [[8]] * 8


def test_requests_of_both_transports_share_a_batch(server):
    def by_rest(rows: int) -> list[int]:
        body = {"signature_name": "batch", "instances": [1.0] * rows}
        return server.post(body).json()["predictions"]

    assert together(lambda ask: ask(), lambda: sizes(server, 5), lambda: by_rest(3)) == [[8] * 5, [8] * 3]


def test_a_batch_that_stays_small_is_filled_up_to_an_allowed_size(server):
    assert sizes(server, 3) == [4] * 3


def test_a_request_larger_than_a_batch_is_refused(server):
    code, message = status_of(lambda: sizes(server, 9))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "Task size 9 is larger than maximum input batch size 8" in message


def test_a_full_queue_is_unavailable(server):
    """One thread counts for a while: of what comes meanwhile one batch may wait, and the rest is refused."""
    request = predict_pb2.PredictRequest(model_spec=model_spec(signature_name="count"))
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.full(8, 100_000, np.float32)))
    calls = [server.prediction.Predict.future(request, DEADLINE_SECONDS) for _ in range(8)]
    errors = [error for error in (call.exception() for call in calls) if error is not None]
    assert 0 < len(errors) < len(calls)
    assert {error.code() for error in errors} == {grpc.StatusCode.UNAVAILABLE}
    for error in errors:
        assert "The batch scheduling queue to which this task was submitted is full" in error.details()
    answers = [call.result() for call in calls if call.exception() is None]
    assert all(list(answer.outputs["counted"].int64_val) == [100_000] * 8 for answer in answers)


def test_batches_are_counted(server):
    sizes(server, 8)
    page = server.get("/monitoring/prometheus/metrics").text
    assert ":tensorflow:serving:batching_session:queuing_latency_count" in page
    assert ":tensorflow:serving:batching_session:wrapped_run_count" in page


def test_models_that_bring_their_own_parameters(probe, tmp_path):
    for name in ("alone", "pairs"):
        shutil.copytree(probe, tmp_path / name / "1")
    (tmp_path / "pairs" / "1" / "batching_params.pbtxt").write_text(
        "max_batch_size { value: 2 } batch_timeout_micros { value: 60000000 }"
    )
    config = write_model_list(tmp_path / "models.config", model_list(tmp_path, alone="", pairs=""))
    with running_server(
        None,
        tmp_path / "server.log",
        f"--model_config_file={config}",
        "--enable_batching",
        "--enable_per_model_batching_parameters",
    ) as server:
        assert together(lambda rows: sizes(server, rows, "pairs"), 1, 1, 1, 1) == [[2]] * 4
        assert together(lambda rows: sizes(server, rows, "alone"), 1, 1) == [[1]] * 2


def test_parameters_that_contradict_each_other_end_the_start(probe, tmp_path):
    path = tmp_path / "batching.config"
    path.write_text("max_batch_size { value: 8 } allowed_batch_sizes: 4")
    code, message = refused(
        f"--model_base_path={probe.parent}",
        f"--port={free_port()}",
        "--enable_batching",
        f"--batching_parameters_file={path}",
    )
    last = message.splitlines()[-1]
    assert code == 1
    assert last.startswith("vitrine-model-server: error: Last entry in allowed_batch_sizes must match max_batch_size")
