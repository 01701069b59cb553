"""The model in Ray Serve.

Its documentation: HAProxy in place of the proxy in Python (HAProxy Load Balancing), the flags for throughput, batching
and `async` methods (Performance Tuning), a core for each replica. With those flags a blocking call must not stand in
the way of the replica's event loop, so the model runs in a thread.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import threading

from benchmarks.peers.programs.classifier import Classifier
from benchmarks.peers.programs.settings import BATCH_SECONDS, MAX_BATCH_SIZE, Settings, free_port

_ATTEMPTS = 3

_settings = Settings.from_environment()
# Read when Ray is imported.
os.environ.update(
    RAY_SERVE_ENABLE_HA_PROXY="1",
    RAY_SERVE_THROUGHPUT_OPTIMIZED="1",
    RAY_USAGE_STATS_ENABLED="0",
    # Of this cluster alone, which ends with the benchmark: none is kept in the home directory.
    RAY_AUTH_TOKEN=secrets.token_hex(32),
    # On a busy machine its proxy takes longer than 5 s to come up, and would be killed.
    RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S="60",
    RAY_SERVE_HAPROXY_STARTUP_TIMEOUT_S="60",
    # Two of them on one machine would otherwise share these.
    RAY_SERVE_HAPROXY_CONFIG_FILE_LOC=str(_settings.folder / "haproxy.cfg"),
    RAY_SERVE_HAPROXY_SOCKET_PATH=str(_settings.folder / "haproxy.sock"),
    RAY_SERVE_HAPROXY_SERVER_STATE_BASE=str(_settings.folder),
    RAY_SERVE_HAPROXY_SERVER_STATE_FILE=str(_settings.folder / "haproxy-state"),
    RAY_SERVE_HAPROXY_METRICS_PORT=str(free_port()),
    RAY_SERVE_HAPROXY_STATS_PORT=str(free_port()),
    # By default a model server's own: 8500.
    RAY_SERVE_FALLBACK_PROXY_HTTP_PORT=str(free_port()),
    RAY_SERVE_FALLBACK_PROXY_GRPC_PORT=str(free_port()),
)

import ray  # noqa: E402
from ray import serve  # noqa: E402
from starlette.requests import Request  # noqa: E402


@serve.deployment(
    num_replicas=_settings.cores, max_ongoing_requests=4 * MAX_BATCH_SIZE, ray_actor_options={"num_cpus": 1}
)
class Labels:
    def __init__(self, settings: Settings) -> None:
        self._classifier = Classifier(settings)
        self._batching = settings.batching
        self._one_at_a_time = asyncio.Semaphore(1)

    async def __call__(self, request: Request) -> str:
        picture = await request.body()
        if self._batching:
            return await self._label_in_batch(picture)
        async with self._one_at_a_time:
            return (await asyncio.to_thread(self._classifier.labels, [picture]))[0]

    @serve.batch(max_batch_size=MAX_BATCH_SIZE, batch_wait_timeout_s=BATCH_SECONDS)
    async def _label_in_batch(self, pictures: list[bytes]) -> list[str]:
        return await asyncio.to_thread(self._classifier.labels, pictures)


def _start_node() -> None:
    """Ray itself, with further attempts: it gives its agents 15 s to come up, which no setting changes."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            ray.init(
                num_cpus=_settings.cores, include_dashboard=False, log_to_driver=False, _temp_dir=str(_settings.folder)
            )
            return
        # Ray raises no more specific one.
        except Exception:
            if attempt == _ATTEMPTS:
                raise
            ray.shutdown()


def main() -> None:
    ended = threading.Event()
    _start_node()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    serve.start(http_options={"host": "127.0.0.1", "port": _settings.port})
    # The decorator has made it a Deployment, which type checkers do not see.
    application = Labels.bind(_settings)  # type: ignore[attr-defined]
    serve.run(application, route_prefix="/classify")
    ended.wait()
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main()
