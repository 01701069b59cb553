"""The standard gRPC health service, told the truth about each model."""

from __future__ import annotations

from collections.abc import Mapping

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from vitrine_serving.embedded.grpc.service import MODEL_SERVICE, PREDICTION_SERVICE

_STATUS = {
    True: health_pb2.HealthCheckResponse.SERVING,
    False: health_pb2.HealthCheckResponse.NOT_SERVING,
}


class Health:
    """Answers `Check` and `Watch` for the whole server (empty name), its services and every model by name."""

    def __init__(self) -> None:
        self._servicer = health.HealthServicer()
        self._models: set[str] = set()
        self._servicer.set(MODEL_SERVICE, _STATUS[True])
        self.update({})

    def add_to(self, server: grpc.Server) -> None:
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    def update(self, serving: Mapping[str, bool]) -> None:
        """Tell which of the configured models serve; the server as a whole does when all of them do."""
        for name in self._models - serving.keys():
            self._servicer.set(name, health_pb2.HealthCheckResponse.SERVICE_UNKNOWN)
        self._models = set(serving)
        for name, up in serving.items():
            self._servicer.set(name, _STATUS[up])
        whole = bool(serving) and all(serving.values())
        self._servicer.set("", _STATUS[whole])
        self._servicer.set(PREDICTION_SERVICE, _STATUS[whole])

    def stop(self) -> None:
        """Say NOT_SERVING from now on, whatever happens to the models."""
        self._servicer.enter_graceful_shutdown()
