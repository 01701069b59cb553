"""A start with every flag there is, and a stop under load: who was taken on gets an answer."""

from __future__ import annotations

import itertools
import json
import shlex
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import requests
import tensorflow as tf
from embedded_server import ModelServer, model_spec, running_server
from modelconfigs import model_list, write_model_list
from processes import DEADLINE_SECONDS
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

ONE = {"x": np.ones(1, np.float32)}
CLIENTS = 100

# With the files that the test adds, every flag of tensorflow_model_server 2.20.
EFFECTIVE = shlex.split("""
--rest_api_num_threads=8 --rest_api_timeout_in_ms=30000 --rest_api_enable_cors_support=true --enable_batching=true
--allow_version_labels_for_unavailable_models=true --enable_per_model_batching_parameters=true
--model_config_file_poll_wait_seconds=60 --model_name=unused --model_base_path=/unused --num_load_threads=2
--max_num_load_retries=0 --load_retry_interval_micros=1000 --file_system_poll_wait_seconds=1
--tensorflow_intra_op_parallelism=1 --tensorflow_inter_op_parallelism=2 --use_alts_credentials=false
--per_process_gpu_memory_fraction=0.5 --saved_model_tags=serve --grpc_channel_arguments=grpc.max_connection_age_ms=60000
--grpc_max_threads=8 --enable_model_warmup=true --num_request_iterations_for_warmup=2
--enable_signature_method_name_check=true --xla_cpu_compilation_enabled=true --xla_gpu_compilation_enabled=false
--enable_grpc_healthcheck_service=true --enable_serialization_as_tensor_content=false --prefer_tflite_model=true
--num_tflite_pools=2
""")
INEFFECTIVE = shlex.split("""
--num_unload_threads=2 --flush_filesystem_caches=false --platform_config_file=
--remove_unused_fields_from_bundle_metagraph=false
--num_tflite_interpreters_per_pool=2 --enable_profiler=false --thread_pool_factory_config_file=
--mixed_precision=bfloat16 --skip_initialize_tpu=true
""")


def test_every_flag_at_once(tmp_path, written_models):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "1").symlink_to(written_models / "plus_two")
    files = {
        "batching_parameters_file": "max_batch_size { value: 8 }",
        "tensorflow_session_config_file": "inter_op_parallelism_threads: 1",
        "monitoring_config_file": "prometheus_config { enable: true }",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    config = write_model_list(tmp_path / "models.config", model_list(tmp_path, m=""))
    with running_server(
        None,
        tmp_path / "server.log",
        f"--model_config_file={config}",
        f"--grpc_socket_path={tmp_path / 'serving.sock'}",
        *[f"--{name}={tmp_path / name}" for name in files],
        *EFFECTIVE,
        *INEFFECTIVE,
    ) as server:
        assert list(server.predict(ONE, model="m").outputs["y"].float_val) == [2.5]
        assert server.post({"instances": [1]}, model="m").json() == {"predictions": [2.5]}
        warnings = [line.partition(" WARNING ")[2] for line in server.log.splitlines() if "no effect" in line]
        assert warnings == [f"{flag.partition('=')[0]} has no effect here" for flag in INEFFECTIVE]


class Load:
    """Clients with a connection each, who ask until the server is gone; what they were answered, by request."""

    def __init__(self, server: ModelServer) -> None:
        self.answered: set[str] = set()
        self.refusals: set[grpc.StatusCode | int] = set()
        self._server = server
        self._busy = threading.Barrier(2 * CLIENTS + 1)

    def by_grpc(self, client: int) -> None:
        request = predict_pb2.PredictRequest(model_spec=model_spec())
        request.inputs["x"].CopyFrom(tf.make_tensor_proto(ONE["x"]))
        own_connection = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(f"127.0.0.1:{self._server.port}", own_connection) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)

            def ask(request_id: str) -> bool:
                try:
                    stub.Predict(request, DEADLINE_SECONDS, metadata=[("x-request-id", request_id)])
                except grpc.RpcError as error:
                    self.refusals.add(error.code())
                    return False
                return True

            self._ask_on(f"grpc-{client}", ask)

    def by_rest(self, client: int) -> None:
        with requests.Session() as session:

            def ask(request_id: str) -> bool:
                body, headers = {"instances": [1]}, {"X-Request-Id": request_id}
                url = f"{self._server.model_url}:predict"
                try:
                    response = session.post(url, json=body, headers=headers, timeout=DEADLINE_SECONDS)
                except requests.ConnectionError:
                    return False
                self.refusals |= {response.status_code} - {200}
                return True

            self._ask_on(f"rest-{client}", ask)

    def wait_until_busy(self) -> None:
        self._busy.wait(DEADLINE_SECONDS)

    def _ask_on(self, client: str, ask: Callable[[str], bool]) -> None:
        for number in itertools.count():
            request_id = f"{client}-{number}"
            if not ask(request_id):
                return
            self.answered.add(request_id)
            if number == 0:
                self._busy.wait(DEADLINE_SECONDS)


def test_a_stop_under_two_hundred_clients_loses_no_answer(put_version, tmp_path):
    put_version("plus_two", 1)
    access_log = tmp_path / "access.log"
    with running_server(put_version.base_path, tmp_path / "server.log", f"--access_log={access_log}") as server:
        load = Load(server)
        with ThreadPoolExecutor(2 * CLIENTS) as pool:
            clients = [pool.submit(ask, client) for client in range(CLIENTS) for ask in (load.by_grpc, load.by_rest)]
            load.wait_until_busy()
            server.process.send_signal(signal.SIGTERM)
            for client in clients:
                client.result(DEADLINE_SECONDS)
        assert server.process.wait(DEADLINE_SECONDS) == 0
    assert load.answered == run_requests(access_log)
    assert load.refusals <= {grpc.StatusCode.UNAVAILABLE}
    assert "Traceback" not in server.log


def run_requests(access_log: Path) -> set[str]:
    """The requests that the model has answered."""
    lines = map(json.loads, access_log.read_text().splitlines())
    return {line["request_id"] for line in lines if line.get("code") == "OK" or line.get("status") == 200}
