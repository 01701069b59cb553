"""The running server: models, core and the two transports, put together as the flags say."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from vitrine_serving.embedded import options
from vitrine_serving.embedded.access_log import AccessLog
from vitrine_serving.embedded.core import Core
from vitrine_serving.embedded.errors import Code, invalid_argument
from vitrine_serving.embedded.flags import Flags
from vitrine_serving.embedded.grpc import server as grpc_server
from vitrine_serving.embedded.grpc.calls import GrpcHooks
from vitrine_serving.embedded.grpc.health import Health
from vitrine_serving.embedded.inference import custom_ops, xla
from vitrine_serving.embedded.inference.pictures import PictureLimit
from vitrine_serving.embedded.loading import Loader
from vitrine_serving.embedded.metrics.server_metrics import Api, ServerMetrics
from vitrine_serving.embedded.models.config import read_config_file, single_model_config
from vitrine_serving.embedded.models.models import Models
from vitrine_serving.embedded.rest.application import RestApplication
from vitrine_serving.embedded.rest.hooks import RestHooks
from vitrine_serving.embedded.rest.http import server as rest_server

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 0.1


class Server:
    """Everything the command starts, and how it ends."""

    def __init__(self, flags: Flags) -> None:
        """Read all configuration files; raises ServingError for one that is wrong, and for the access log."""
        # The version-1 loader announces its deprecation on every load.
        tf.get_logger().setLevel(logging.ERROR)
        self._flags = flags
        self._monitoring = options.monitoring(flags)
        self._grpc_options = options.grpc(flags)
        self._rest_options = options.rest(flags, self._monitoring)
        counted = self._monitoring.enabled or flags.per_version_metrics
        self._metrics = ServerMetrics(flags.per_version_metrics, self._states) if counted else None
        self._access_log = _open_access_log(flags.access_log)
        self._models = Models(Loader(options.loading(flags), self._metrics).load, options.models(flags))
        pictures = PictureLimit(flags.max_image_pixels) if flags.max_image_pixels else None
        self._core = Core(self._models, self._metrics, flags.enable_signature_method_name_check, pictures)
        self._health = Health() if flags.enable_grpc_healthcheck_service else None
        self._config = (
            read_config_file(flags.model_config_file)
            if flags.model_config_file
            else single_model_config(flags.model_name, flags.model_base_path)
        )
        custom_ops.register_installed()
        if not (flags.xla_cpu_compilation_enabled or flags.xla_gpu_compilation_enabled):
            xla.disable_compilation()
        self._stops: list[Callable[[], object]] = []

    def load(self, is_stopped: Callable[[], bool]) -> None:
        """Look for versions and wait until all have loaded or failed once, or `is_stopped`.

        Raises ServingError when the list of models is refused.
        """
        self._models.start(self._config)
        while not is_stopped() and not self._models.wait_until_settled(_LOOK_SECONDS):
            pass
        poll = self._flags.model_config_file_poll_wait_seconds
        if self._flags.model_config_file and poll > 0:
            self._models.watch_config_file(self._flags.model_config_file, poll)

    def start(self, grpc_socket: socket.socket | None, rest_socket: socket.socket | None) -> None:
        """Accept requests on the bound sockets that are given; raises OSError, saying where, when one cannot listen."""
        if self._health is not None:
            self._models.on_change(self._health.update)
        # gRPC binds for itself; until now the socket kept others off the port.
        if grpc_socket is not None:
            grpc_socket.close()
        hooks = GrpcHooks(self._metrics, self._access_log)
        stop_grpc = grpc_server.start(self._core, self._grpc_options, self._health, hooks)
        self._stops.append(lambda: stop_grpc(self._flags.drain_seconds))
        logger.info("gRPC listening on %s", ", ".join(self._grpc_options.addresses))
        if rest_socket is not None:
            application = RestApplication(self._core, self._rest_options, self._rest_hooks())
            port = rest_socket.getsockname()[1]
            try:
                self._stops.append(rest_server.start(application, rest_socket, self._rest_options))
            except OSError as error:
                raise OSError(f"REST cannot listen on port {port}: {error.strerror or error}") from error
            logger.info("REST listening on 0.0.0.0:%d", port)

    def stop(self) -> None:
        """Refuse new requests, give those in flight `--drain_seconds` to finish, unload the models."""
        logger.info("Stopping: finishing requests in flight, for at most %g s", self._flags.drain_seconds)
        deadline = time.monotonic() + self._flags.drain_seconds
        self._models.stop_watching()
        if self._health is not None:
            self._health.stop()
        threads = [threading.Thread(target=stop, daemon=True) for stop in self._stops]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self._models.stop(max(0.0, deadline - time.monotonic()))
        if self._access_log is not None:
            self._access_log.close()
        logger.info("Stopped")

    def _rest_hooks(self) -> RestHooks:
        metrics = self._metrics

        def on_finished(model: str, version: int | None, signature: str, api: str, code: Code, seconds: float) -> None:
            if metrics is not None:
                named: Api = api or "GetModelStatus"  # type: ignore[assignment]
                metrics.request_finished(model, version, signature, named, "REST", code, seconds)

        return RestHooks(
            ready=self._ready,
            list_models=self._list_models,
            metrics_text=metrics.text if metrics is not None else None,
            on_request=self._access_log,
            on_started=(lambda: metrics.request_started("REST")) if metrics is not None else None,
            on_finished=on_finished if metrics is not None else None,
        )

    def _ready(self) -> tuple[bool, dict[str, Any]]:
        serving = self._models.serving()
        missing = sorted(name for name, up in serving.items() if not up)
        ready = bool(serving) and not missing
        return ready, {"ready": ready, "models": dict(serving), "not_serving": missing}

    def _list_models(self) -> dict[str, Any]:
        labels = self._models.labels()
        return {
            "models": [
                {
                    "name": name,
                    "versions": [
                        {
                            "version": str(status.version),
                            "state": status.state.name,
                            "labels": sorted(
                                label for label, at in labels.get(name, {}).items() if at == status.version
                            ),
                            "error": str(status.error) if status.error else "",
                        }
                        for status in statuses
                    ],
                }
                for name, statuses in self._models.models().items()
            ]
        }

    def _states(self) -> list[tuple[str, int, str]]:
        return [
            (name, status.version, status.state.name)
            for name, statuses in self._models.models().items()
            for status in statuses
        ]


def _open_access_log(path: str) -> AccessLog | None:
    try:
        return AccessLog(path) if path else None
    except OSError as error:
        raise invalid_argument(f"cannot open --access_log {path}: {error.strerror or error}") from error
