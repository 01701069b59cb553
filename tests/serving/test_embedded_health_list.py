"""The health of everything at once: `List` of the standard gRPC health service."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import probemodels
import pytest
from embedded_server import MODEL, ModelServer, running_server, status_of
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from grpc_health.v1 import health_pb2, health_pb2_grpc
from modelconfigs import model_list
from processes import DEADLINE_SECONDS, wait_until
from tensorflow_serving.apis import model_management_pb2

SERVICES = {"", "PredictionService", "ModelService"} | {
    f"tensorflow.serving.{name}" for name in ("PredictionService", "ModelService")
}
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING

# grpc/health/v1/health.proto has this message; the package with the rest of it does not yet.
LIST_RESPONSE = """
    name: "list.proto"
    package: "test"
    syntax: "proto3"
    dependency: "%s"
    message_type {
        name: "HealthListResponse"
        field {
            name: "statuses" number: 1 label: LABEL_REPEATED type: TYPE_MESSAGE
            type_name: ".test.HealthListResponse.StatusesEntry"
        }
        nested_type {
            name: "StatusesEntry"
            field { name: "key" number: 1 label: LABEL_OPTIONAL type: TYPE_STRING }
            field {
                name: "value" number: 2 label: LABEL_OPTIONAL type: TYPE_MESSAGE
                type_name: ".grpc.health.v1.HealthCheckResponse"
            }
            options { map_entry: true }
        }
    }
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("listed")
    probemodels.write_probe(folder / MODEL / "1")
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[ModelServer]:
    """One call at a time."""
    flags = ("--enable_grpc_healthcheck_service", "--grpc_max_threads=1")
    with running_server(folder / MODEL, folder / "server.log", *flags) as running:
        yield running


@pytest.fixture(scope="module")
def response_type() -> type:
    file = descriptor_pb2.FileDescriptorProto()
    text_format.Parse(LIST_RESPONSE % health_pb2.DESCRIPTOR.name, file)
    pool = descriptor_pool.DescriptorPool()
    for known in (health_pb2.DESCRIPTOR.serialized_pb, file.SerializeToString()):
        pool.AddSerializedFile(known)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("test.HealthListResponse"))


def listed(server: ModelServer, response_type: type) -> dict[str, int]:
    """Statuses by name."""
    call = server.channel.unary_unary("/grpc.health.v1.Health/List", response_deserializer=response_type.FromString)
    return {name: entry.status for name, entry in call(b"", timeout=DEADLINE_SECONDS).statuses.items()}


def test_models_and_services_are_listed(server, response_type):
    assert listed(server, response_type) == dict.fromkeys({MODEL, *SERVICES}, SERVING)
    stub = health_pb2_grpc.HealthStub(server.channel)
    for name, status in listed(server, response_type).items():
        checked = stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=DEADLINE_SECONDS)
        assert checked.status == status


def test_models_come_and_go(server, response_type, folder):
    without = model_list(folder, **{MODEL: ""})
    request = model_management_pb2.ReloadConfigRequest(config=model_list(folder, **{MODEL: ""}, late=""))
    # It has no version yet, which is what the client is told.
    assert status_of(lambda: server.models.HandleReloadConfigRequest(request))[0] is grpc.StatusCode.UNKNOWN
    wait_until(lambda: "late" in listed(server, response_type), "the new model is listed")
    statuses = listed(server, response_type)
    assert (statuses["late"], statuses[MODEL], statuses[""]) == (NOT_SERVING, SERVING, NOT_SERVING)
    server.models.HandleReloadConfigRequest(model_management_pb2.ReloadConfigRequest(config=without))
    wait_until(lambda: "late" not in listed(server, response_type), "the model is listed no more")


def test_it_answers_when_every_thread_is_at_work(server, response_type):
    one = {"x": np.ones(1, np.float32)}

    def told() -> int:
        answer = server.post({"signature_name": "told", "inputs": {"x": [1]}}).json()
        return answer["outputs"]["held"][0]

    before = told()
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(server.predict, one, "hold")
        try:
            wait_until(lambda: told() == before + 1, "a call holds the only thread")
            assert status_of(lambda: server.predict(one))[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert listed(server, response_type)[MODEL] == SERVING
        finally:
            server.post({"signature_name": "let_go", "inputs": {"x": [1]}})
        held.result(DEADLINE_SECONDS)


def test_without_the_flag_there_is_no_list(showcase, response_type):
    assert status_of(lambda: listed(showcase, response_type))[0] is grpc.StatusCode.UNIMPLEMENTED
