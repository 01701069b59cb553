"""The standard gRPC health service, told the truth about each model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from vitrine_client.wire import health_pb2 as listing_pb2
from vitrine_serving.embedded.grpc.service import MODEL_SERVICE, PREDICTION_SERVICE

_SERVICE = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
_Response = health_pb2.HealthCheckResponse
_STATUS = {True: _Response.SERVING, False: _Response.NOT_SERVING}

# Sends a response to a client that watches, or with None ends its stream.
_Send = Callable[[health_pb2.HealthCheckResponse | None], None]


class Health(health_pb2_grpc.HealthServicer):
    """Answers `Check` and `Watch` for the whole server (empty name), its services and every model by name.

    `List` tells of all of them at once. Everything but it and `Check` happens on one thread, so that no lock is held
    while a response is sent: sending waits for gRPC's own thread, which at that moment may be telling us of a client
    that left.
    """

    # Also for `Check` and `List`: health is asked for most of all when every other thread is at work.
    _thread = ThreadPoolExecutor(1, "grpc-health")

    def __init__(self) -> None:
        self._watchers: dict[_Send, str] = {}
        self._stopped = False
        self._statuses = _statuses({})

    def add_to(self, server: grpc.Server) -> None:
        health_pb2_grpc.add_HealthServicer_to_server(self, server)
        # The standard has this method, but the package that serves the others does not yet.
        listing = grpc.unary_unary_rpc_method_handler(
            self.List, listing_pb2.HealthListRequest.FromString, listing_pb2.HealthListResponse.SerializeToString
        )
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(_SERVICE, {"List": listing})])

    def update(self, serving: Mapping[str, bool]) -> None:
        """Tell which of the configured models serve; the server as a whole does when all of them do."""
        self._thread.submit(self._update, _statuses(serving))

    def stop(self) -> None:
        """Say NOT_SERVING from now on, whatever happens to the models, and end the streams: they would outlast all."""
        self._thread.submit(self._stop)

    def Check(
        self, request: health_pb2.HealthCheckRequest, context: grpc.ServicerContext
    ) -> health_pb2.HealthCheckResponse:
        status = self._statuses.get(request.service)
        if status is None:
            context.abort(grpc.StatusCode.NOT_FOUND, f"Unknown service: {request.service}")
        return _Response(status=status)

    def List(
        self, request: listing_pb2.HealthListRequest, context: grpc.ServicerContext
    ) -> listing_pb2.HealthListResponse:
        response = listing_pb2.HealthListResponse()
        for name, status in self._statuses.items():
            response.statuses[name].status = status  # type: ignore[assignment]
        return response

    def Watch(self, request: health_pb2.HealthCheckRequest, context: grpc.ServicerContext, send: _Send) -> None:
        send(self._response(request.service))
        if self._stopped:
            send(None)
            return
        self._watchers[send] = request.service
        if not context.add_callback(lambda: self._thread.submit(self._watchers.pop, send, None)):
            del self._watchers[send]

    # gRPC hands such a method a function to send with, and no thread waits while there is nothing to send.
    Watch.experimental_non_blocking = True  # type: ignore[attr-defined]
    Check.experimental_thread_pool = Watch.experimental_thread_pool = _thread  # type: ignore[attr-defined]
    List.experimental_thread_pool = _thread  # type: ignore[attr-defined]

    def _update(self, statuses: dict[str, int]) -> None:
        """Take these statuses for the present ones; who watches one that differs is told."""
        if self._stopped:
            return
        before, self._statuses = self._statuses, statuses
        for send, service in self._watchers.items():
            if statuses.get(service) != before.get(service):
                send(self._response(service))

    def _stop(self) -> None:
        self._update(dict.fromkeys(self._statuses, _Response.NOT_SERVING))
        self._stopped = True
        for send in self._watchers:
            send(None)
        self._watchers.clear()

    def _response(self, service: str) -> health_pb2.HealthCheckResponse:
        return _Response(status=self._statuses.get(service, _Response.SERVICE_UNKNOWN))


def _statuses(serving: Mapping[str, bool]) -> dict[str, int]:
    whole = _STATUS[bool(serving) and all(serving.values())]
    models = {name: _STATUS[up] for name, up in serving.items()}
    services = {PREDICTION_SERVICE: whole, MODEL_SERVICE: _Response.SERVING}
    # TensorFlow Serving knows its services by their names without the package.
    short = {name.rpartition(".")[2]: status for name, status in services.items()}
    return short | models | services | {"": whole}
