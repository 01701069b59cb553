"""What an operator sees: metrics, the access log, health checks and readiness."""

from __future__ import annotations

import json
import re
import shutil
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import grpc
import numpy as np
import pytest
import savedmodels
from embedded_server import MODEL, ModelServer, model_spec, running_server, status_of
from grpc_health.v1 import health_pb2, health_pb2_grpc
from modelconfigs import model_list
from processes import DEADLINE_SECONDS, wait_until
from tensorflow_serving.apis import get_model_status_pb2, model_management_pb2, predict_pb2
from tensorflow_serving.config import model_server_config_pb2

ONE = {"x": np.ones(1, np.float32)}
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture(scope="module")
def folder(tmp_path_factory, written_models) -> Path:
    folder = tmp_path_factory.mktemp("observed")
    (folder / "models").mkdir()
    (folder / "models" / "1").symlink_to(written_models / "plus_two")
    return folder


@pytest.fixture(scope="module")
def server(folder) -> Iterator[ModelServer]:
    """Everything that observes is on."""
    monitoring = folder / "monitoring.config"
    monitoring.write_text("prometheus_config { enable: true, path: '/metrics' }")
    with running_server(
        folder / "models",
        folder / "server.log",
        f"--monitoring_config_file={monitoring}",
        "--per_version_metrics",
        f"--access_log={folder / 'access.log'}",
        "--enable_grpc_healthcheck_service",
        "--rest_api_extensions",
    ) as running:
        yield running


def metrics(server: ModelServer) -> dict[str, float]:
    """Samples of the page by name and labels, as they are written there."""
    response = server.get("/metrics")
    assert (response.status_code, response.headers["Content-Type"]) == (200, "text/plain")
    assert "# TYPE" in response.text
    lines = [line for line in response.text.splitlines() if line and not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def growth(before: dict[str, float], after: dict[str, float], name: str) -> dict[str, float]:
    """By what stands in the braces: how much the samples of a metric have grown, where they have."""
    grown = {key: value - before.get(key, 0) for key, value in after.items() if key.startswith(name + "{")}
    return {re.sub(r".*\{(.*)\}", r"\1", key): value for key, value in grown.items() if value}


def test_requests_are_counted_by_model_and_status(server):
    before = metrics(server)
    for _ in range(3):
        server.predict(ONE)
    status_of(lambda: server.predict(ONE, version=9))
    status_of(lambda: server.predict({"z": np.ones(1, np.float32)}))
    server.post({"instances": [1]})
    server.post({"instances": ["one"]})
    server.post({"instances": [1]}, model="other")
    after = metrics(server)
    assert growth(before, after, ":tensorflow:serving:request_count") == {
        'model_name="model",status="OK"': 4,
        'model_name="model",status="NOT_FOUND"': 1,
        'model_name="model",status="INVALID_ARGUMENT"': 2,
        'model_name="other",status="NOT_FOUND"': 1,
    }
    assert growth(before, after, ":tensorflow:serving:request_latency_count") == {
        'model_name="model",API="Predict",entrypoint="GRPC"': 3,
        'model_name="model",API="predict",entrypoint="REST"': 1,
    }


def test_runs_of_the_graph_and_stages_of_its_load_are_timed(server):
    before = metrics(server)
    for _ in range(3):
        server.predict(ONE)
    status_of(lambda: server.predict({"z": np.ones(1, np.float32)}))
    after = metrics(server)
    assert after[":tensorflow:core:graph_runs{}"] - before[":tensorflow:core:graph_runs{}"] == 3
    assert after[":tensorflow:core:graph_run_time_usecs{}"] > before[":tensorflow:core:graph_run_time_usecs{}"]
    stages = growth({}, after, ":tensorflow:cc:saved_model:load_latency_by_stage_count")
    assert {re.search('stage="(.*?)"', labels)[1]: count for labels, count in stages.items()} == {
        "restore_graph": 1,
        "init_graph": 1,
    }


def test_requests_are_counted_by_version_too(server):
    before = metrics(server)
    server.predict(ONE)
    server.post({"instances": [1]}, "/versions/1:predict")
    grown = growth(before, metrics(server), "vitrine_request_count")
    assert sum(grown.values()) == 2
    assert {re.search('version="(.*?)"', labels)[1] for labels in grown} == {"1"}


def test_a_request_that_fails_counts_for_the_version_it_had_reached(server):
    before = metrics(server)
    status_of(lambda: server.predict({"z": np.ones(1, np.float32)}))
    server.post({"instances": ["one"]})
    server.post({"signature_name": "none", "instances": [1]})
    grown = growth(before, metrics(server), "vitrine_request_count")
    assert sum(grown.values()) == 3
    assert {re.search('version="(.*?)"', labels)[1] for labels in grown} == {"1"}


def logged(folder: Path, request_id: str) -> dict[str, object]:
    """The one line about a request, which is written before its answer is sent."""
    lines = [json.loads(line) for line in (folder / "access.log").read_text().splitlines()]
    [line] = [line for line in lines if line.get("request_id") == request_id]
    return line


def call_traced(server: ModelServer, request_id: str, **target):
    request = predict_pb2.PredictRequest(model_spec=model_spec(**target))
    request.inputs["x"].dtype = 1
    request.inputs["x"].float_val.append(1)
    request.inputs["x"].tensor_shape.dim.add(size=1)
    metadata = [("x-request-id", request_id), ("traceparent", TRACEPARENT)]
    return server.prediction.Predict.with_call(request, DEADLINE_SECONDS, metadata)


def test_a_grpc_call_in_the_access_log(server, folder):
    _, call = call_traced(server, "grpc-1")
    assert dict(call.trailing_metadata()) == {"x-request-id": "grpc-1", "traceparent": TRACEPARENT}
    line = logged(folder, "grpc-1")
    assert (line["method"], line["code"], line["model"], line["version"]) == ("Predict", "OK", MODEL, 1)
    assert line["traceparent"] == TRACEPARENT
    assert "127.0.0.1" in line["peer"]
    assert line["request_bytes"] > 0 < line["response_bytes"]
    assert 0 < line["seconds"] < DEADLINE_SECONDS


def test_a_grpc_call_that_failed_in_the_access_log(server, folder):
    with pytest.raises(grpc.RpcError) as raised:
        call_traced(server, "grpc-2", version=9)
    assert dict(raised.value.trailing_metadata())["x-request-id"] == "grpc-2"
    line = logged(folder, "grpc-2")
    assert (line["code"], line["model"], line["version"]) == ("NOT_FOUND", MODEL, 9)
    assert line["error"] == raised.value.details()


def test_rest_requests_in_the_access_log(server, folder):
    headers = {"X-Request-Id": "rest-1", "traceparent": TRACEPARENT}
    response = server.post({"instances": [1]}, headers=headers)
    assert (response.headers["X-Request-Id"], response.headers["traceparent"]) == ("rest-1", TRACEPARENT)
    line = logged(folder, "rest-1")
    assert (line["method"], line["path"], line["status"]) == ("POST", "/v1/models/model:predict", 200)
    assert (line["model"], line["version"], line["traceparent"]) == (MODEL, 1, TRACEPARENT)

    response = server.post(b"{", headers={"X-Request-Id": "rest-2"})
    line = logged(folder, "rest-2")
    assert (line["status"], line["error"]) == (400, response.json()["error"])

    given = server.post({"instances": [1]}).headers["X-Request-Id"]
    assert logged(folder, given)["status"] == 200


def test_an_access_log_that_is_moved_away_is_begun_anew(server, folder):
    call_traced(server, "before")
    (folder / "access.log").rename(folder / "access.log.1")
    call_traced(server, "after")
    assert logged(folder, "after")["code"] == "OK"
    assert "before" not in (folder / "access.log").read_text()


def check(server: ModelServer, service: str) -> int:
    stub = health_pb2_grpc.HealthStub(server.channel)
    return stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=DEADLINE_SECONDS).status


def listed(folder: Path, **others: str) -> model_server_config_pb2.ModelServerConfig:
    """The server's own model, and others with their fields as text."""
    config = model_list(folder, **others)
    config.model_config_list.config.add(name=MODEL, base_path=str(folder / "models"), model_platform="tensorflow")
    return config


def reload(
    server: ModelServer, config: model_server_config_pb2.ModelServerConfig, metric_names: Sequence[str] = ()
) -> model_management_pb2.ReloadConfigResponse:
    request = model_management_pb2.ReloadConfigRequest(config=config, metric_names=metric_names)
    return server.models.HandleReloadConfigRequest(request, timeout=DEADLINE_SECONDS)


def test_health_by_model_and_of_the_server(server):
    services = ("PredictionService", "ModelService")
    for service in ("", MODEL, *services, *(f"tensorflow.serving.{name}" for name in services)):
        assert check(server, service) == SERVING
    assert status_of(lambda: check(server, "other"))[0] is grpc.StatusCode.NOT_FOUND


def test_health_of_models_that_come_and_go(server, folder, written_models):
    stub = health_pb2_grpc.HealthStub(server.channel)
    watched = stub.Watch(health_pb2.HealthCheckRequest(service="late"), timeout=DEADLINE_SECONDS)
    assert next(watched).status == SERVICE_UNKNOWN
    config = listed(folder, late="")
    # It has no version yet, which is what the client is told.
    assert status_of(lambda: reload(server, config))[0] is grpc.StatusCode.UNKNOWN
    assert next(watched).status == NOT_SERVING
    assert (check(server, ""), check(server, MODEL)) == (NOT_SERVING, SERVING)
    (folder / "late").mkdir()
    (folder / "late" / "1").symlink_to(written_models / "plus_three")
    assert next(watched).status == SERVING
    wait_until(lambda: check(server, "") == SERVING, "the server is well again")
    reload(server, listed(folder))
    assert [next(watched).status, next(watched).status] == [NOT_SERVING, SERVICE_UNKNOWN]
    watched.cancel()


def test_a_reload_tells_how_much_metrics_grew(server, folder, written_models):
    version = folder / "warm" / "1"
    shutil.copytree(written_models / "plus_two", version)
    savedmodels.write_warmup(version, *[savedmodels.predict_log("", x=[1])] * 3)
    config = listed(folder, warm="")
    names = ["/tensorflow/core/graph_runs", "/tensorflow/serving/request_latency", "/unheard/of"]
    response = reload(server, config, names)
    assert {metric.name: metric.int64_value_increase for metric in response.metric} == dict(
        zip(names, [3, 0, 0], strict=True)
    )


def test_what_a_client_and_an_operator_see_of_a_load_that_is_tried_again(server, folder):
    (folder / "bad" / "1").mkdir(parents=True)
    config = listed(folder, bad="")
    request = model_management_pb2.ReloadConfigRequest(config=config)
    pending = server.models.HandleReloadConfigRequest.future(request, timeout=DEADLINE_SECONDS)
    # A minute goes by between two tries.
    wait_until(lambda: "load failed (try 1 of 6)" in server.log, "the first try has failed")
    assert server.states("bad") == {1: ("LOADING", "")}
    [version] = server.get("/v1/models/bad").json()["model_version_status"]
    assert version == {"version": "1", "state": "LOADING", "status": {"error_code": "OK", "error_message": ""}}
    [bad] = [model for model in server.get("/v1/models").json()["models"] if model["name"] == "bad"]
    assert "Could not find SavedModel" in bad["versions"][0]["error"]
    pending.cancel()
    reload(server, listed(folder))


def test_watchers_that_leave_hold_up_nobody(server):
    stub = health_pb2_grpc.HealthStub(server.channel)
    for _ in range(300):
        watched = stub.Watch(health_pb2.HealthCheckRequest(service=MODEL), timeout=DEADLINE_SECONDS)
        next(watched)
        watched.cancel()
    assert check(server, MODEL) == SERVING
    server.predict(ONE)


def test_names_of_signatures_that_nobody_checked_make_no_series(server):
    for number in range(3):
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name, request.model_spec.signature_name = MODEL, f"invented{number}"
        server.models.GetModelStatus(request, timeout=DEADLINE_SECONDS)
    assert not [name for name in metrics(server) if "invented" in name]


def test_an_access_log_that_cannot_be_written_fails_no_request(tmp_path, written_models):
    (tmp_path / "logs").mkdir()
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "1").symlink_to(written_models / "plus_two")
    flag = f"--access_log={tmp_path / 'logs' / 'access.log'}"
    with running_server(tmp_path / "models", tmp_path / "server.log", flag) as server:
        server.predict(ONE)
        shutil.rmtree(tmp_path / "logs")
        for _ in range(3):
            server.predict(ONE)
            assert server.post({"instances": [1]}).status_code == 200
        assert server.log.count("cannot write to --access_log") == 1
        assert "Traceback" not in server.log


def test_without_the_flag_there_are_no_health_checks(showcase):
    assert status_of(lambda: check(showcase, ""))[0] is grpc.StatusCode.UNIMPLEMENTED


def test_the_life_of_a_server(tmp_path, written_models):
    """From empty to ready to stopping, as seen by readiness, health and the access log on stderr."""
    base_path = tmp_path / "models"
    base_path.mkdir()
    flags = ("--rest_api_extensions", "--enable_grpc_healthcheck_service", "--access_log=-")
    with running_server(base_path, tmp_path / "server.log", *flags) as server:
        assert (server.get("/healthz").status_code, server.get("/readyz").status_code) == (200, 503)
        assert server.get("/readyz").json() == {"ready": False, "models": {MODEL: False}, "not_serving": [MODEL]}
        assert server.get("/v1/models").json() == {"models": [{"name": MODEL, "versions": []}]}
        watched = health_pb2_grpc.HealthStub(server.channel).Watch(health_pb2.HealthCheckRequest(service=MODEL))
        assert next(watched).status == NOT_SERVING

        (base_path / "1").symlink_to(written_models / "plus_two")
        assert next(watched).status == SERVING
        wait_until(lambda: server.get("/readyz").status_code == 200, "ready")
        version = {"version": "1", "state": "AVAILABLE", "labels": [], "error": ""}
        assert server.get("/v1/models").json() == {"models": [{"name": MODEL, "versions": [version]}]}
        server.predict(ONE)

        server.process.send_signal(signal.SIGTERM)
        # The stream then ends, for it would hold up the server until its patience with clients is over.
        assert [response.status for response in watched] == [NOT_SERVING]
        assert server.process.wait(DEADLINE_SECONDS) == 0
        lines = [json.loads(line) for line in server.log.splitlines() if line.startswith("{")]
        assert [line["code"] for line in lines if line["method"] == "Predict"] == ["OK"]
        assert {line["path"] for line in lines if line["method"] == "GET"} == {"/healthz", "/readyz", "/v1/models"}
