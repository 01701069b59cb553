"""A watched server: the embedded one under good and bad requests, Prometheus and the blackbox exporter beside it."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import grpc
import numpy as np
import pytest
from prometheus_server import Prometheus, blackbox_program, program, running_prometheus
from serving.embedded_server import ModelServer, running_server

from serving import savedmodels

MODEL = "flowers"
_CONFIG = """
model_config_list {{ config {{
  name: "{name}" base_path: "{folder}" model_platform: "tensorflow"
  model_version_policy {{ specific {{ versions: 1 versions: 2 versions: 3 }} }}
}} }}
"""
_BATCHING = "max_batch_size { value: 4 } batch_timeout_micros { value: 5000 } num_batch_threads { value: 4 }"


@dataclass
class Watched:
    server: ModelServer
    prometheus: Prometheus


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Versions 1 and 2 serve and 3 cannot be loaded; requests go on until the end. Probes ask for 1 and 3."""
    # Before anything is started, for this may skip.
    program("prometheus")
    blackbox_program()
    folder = tmp_path_factory.mktemp("watched")
    models = folder / "models"
    savedmodels.write_showcase(models / "1")
    shutil.copytree(models / "1", models / "2")
    (models / "3").mkdir()
    (models / "3" / "saved_model.pb").write_bytes(b"not a model")
    files = {
        "model_config_file": _CONFIG.format(name=MODEL, folder=models),
        "monitoring_config_file": 'prometheus_config { enable: true path: "/monitoring/prometheus/metrics" }',
        "batching_parameters_file": _BATCHING,
    }
    flags = ["--enable_batching", "--per_version_metrics", "--rest_api_extensions", "--max_concurrent_requests=2"]
    for flag, text in files.items():
        (folder / flag).write_text(text)
        flags.append(f"--{flag}={folder / flag}")
    with running_server(None, folder / "server.log", *flags) as server:
        for version in (1, 2):
            server.wait_for(version, "AVAILABLE", MODEL)
        watching = folder / "prometheus"
        with (
            _requests_until_the_end(server),
            running_prometheus(watching, server.url.removeprefix("http://"), _probes(server)) as prometheus,
        ):
            yield Watched(server, prometheus)


def _probes(server: ModelServer) -> list[dict[str, object]]:
    """As `vitrine-serving config write` writes them."""
    return [
        {
            "targets": [f"{server.url}/v1/models/{MODEL}/versions/{version}"],
            "labels": {"model_name": MODEL, "version": str(version)},
        }
        for version in (1, 3)
    ]


class _requests_until_the_end:
    """Callers that send good and bad requests by both ways to both versions, and more at once than is allowed."""

    def __init__(self, server: ModelServer) -> None:
        self._server = server
        self._ended = threading.Event()
        self._threads = ThreadPoolExecutor(5)

    def __enter__(self) -> None:
        self._callers = [self._threads.submit(self._call, caller) for caller in range(5)]

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._threads.shutdown()
        for caller in self._callers:
            caller.result()

    def _call(self, caller: int) -> None:
        one = np.ones(1, np.float32)
        broken = np.array([b"not a picture"], np.object_)
        while not self._ended.wait(0.05):
            try:
                if caller == 0:
                    self._server.post({"instances": [1.0]}, model=MODEL)
                    self._server.post({"instances": ["one"]}, model=MODEL)
                elif caller == 1:
                    self._server.predict({"image_bytes": broken}, "pictures", model=MODEL)
                elif caller == 2:
                    # Waits a second for company.
                    self._server.predict({"x": one}, "batched", model=MODEL)
                else:
                    self._server.predict({"x": one}, model=MODEL, version=1 + caller % 2)
            except (grpc.RpcError, OSError):
                # Refused, a broken picture, or a server that is gone.
                continue
