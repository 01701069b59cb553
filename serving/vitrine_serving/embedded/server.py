"""The running server: model manager, watcher and the two transports."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import tensorflow as tf

from vitrine_serving.embedded.core import Core
from vitrine_serving.embedded.flags import Flags, available_cpus
from vitrine_serving.embedded.grpc import service as grpc_service
from vitrine_serving.embedded.inference import warmup
from vitrine_serving.embedded.inference.saved_model import SavedModel, SessionOptions, load_saved_model
from vitrine_serving.embedded.models.manager import RetryPolicy, ServableManager
from vitrine_serving.embedded.models.watcher import Watcher
from vitrine_serving.embedded.rest import server as rest_server
from vitrine_serving.embedded.rest.application import RestApplication

logger = logging.getLogger(__name__)


class Server:
    """Everything the command starts, and how it ends."""

    def __init__(self, flags: Flags) -> None:
        # The version-1 loader announces its deprecation on every load.
        tf.get_logger().setLevel(logging.ERROR)
        self._flags = flags
        self._session_options = _session_options(flags)
        self._manager = ServableManager(
            self._load_model,
            RetryPolicy(flags.max_num_load_retries, flags.load_retry_interval_micros / 1e6),
        )
        self._watcher = Watcher(
            self._manager, flags.model_name, flags.model_base_path, flags.file_system_poll_wait_seconds
        )
        self._core = Core(self._manager)
        self._stops: list[Callable[[], object]] = []

    def load(self, stop: threading.Event) -> None:
        """Look for versions and wait until the first is available or has failed, or `stop` is set."""
        self._watcher.start()
        while not stop.is_set() and not self._manager.wait_until_settled(0.1):
            pass

    def start(self, grpc_socket: socket.socket, rest_socket: socket.socket | None) -> None:
        """Accept requests on the two bound sockets; raises OSError when gRPC cannot listen."""
        flags = self._flags
        # gRPC reads this as every interface, IPv6 included, like TensorFlow Serving.
        address = f"0.0.0.0:{grpc_socket.getsockname()[1]}"
        # gRPC binds for itself; until now the socket kept others off the port.
        grpc_socket.close()
        stop_grpc = grpc_service.start(self._core, address, flags.grpc_max_threads)
        self._stops.append(lambda: stop_grpc(flags.drain_seconds))
        logger.info("gRPC listening on %s", address)
        if rest_socket is not None:
            executor = ThreadPoolExecutor(flags.rest_api_num_threads, "rest")
            application = RestApplication(self._core, executor)
            self._stops.append(rest_server.start(application, rest_socket, flags.drain_seconds))
            logger.info("REST listening on 0.0.0.0:%d", rest_socket.getsockname()[1])

    def stop(self) -> None:
        """Refuse new requests, give those in flight `--drain_seconds` to finish, unload the models."""
        logger.info("Stopping: finishing requests in flight, for at most %g s", self._flags.drain_seconds)
        deadline = time.monotonic() + self._flags.drain_seconds
        self._watcher.stop()
        threads = [threading.Thread(target=stop, daemon=True) for stop in self._stops]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self._manager.stop(max(0.0, deadline - time.monotonic()))
        logger.info("Stopped")

    def _load_model(self, path: str) -> SavedModel:
        model = load_saved_model(path, self._session_options)
        try:
            started = time.monotonic()
            count = warmup.replay(model, path)
            if count:
                seconds = time.monotonic() - started
                logger.info("Replayed %d warm-up requests of %s in %.3f s", count, path, seconds)
        except BaseException:
            model.close()
            raise
        return model


def _session_options(flags: Flags) -> SessionOptions:
    """TensorFlow's own defaults halve the throughput of small models on a CPU."""
    on_cpu = not tf.config.list_physical_devices("GPU")
    intra = flags.tensorflow_intra_op_parallelism
    inter = flags.tensorflow_inter_op_parallelism
    return SessionOptions(
        intra_op_parallelism=(1 if on_cpu else 0) if intra is None else intra,
        inter_op_parallelism=(available_cpus() if on_cpu else 0) if inter is None else inter,
    )
