"""What surrounds every gRPC call: its status on failure, the limits on concurrency, the log of it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from vitrine_serving.embedded.errors import Code, ServingError, internal_error
from vitrine_serving.embedded.grpc.pool import CallPool
from vitrine_serving.embedded.grpc.service import Behavior
from vitrine_serving.embedded.inference.deadlines import TimeLeft
from vitrine_serving.embedded.inference.memory import trim_after
from vitrine_serving.embedded.metrics.server_metrics import ServerMetrics

logger = logging.getLogger(__name__)

# A status message travels in a header, which clients refuse when large. TensorFlow Serving's limit.
_MAX_MESSAGE = 1024
_STATUS = {code: next(s for s in grpc.StatusCode if s.value[0] == code) for code in Code}
_REQUEST_ID = "x-request-id"
_TRACEPARENT = "traceparent"


@dataclass(frozen=True)
class Call:
    """One answered gRPC call, for the access log. Version and signature are those that answered or were asked for."""

    method: str
    code: str
    error: str
    request_bytes: int
    response_bytes: int
    seconds: float
    model: str
    version: int | None
    signature: str
    peer: str
    request_id: str
    traceparent: str


@dataclass(frozen=True)
class GrpcHooks:
    """Who hears of calls: the metrics, and the access log with one `Call` each."""

    metrics: ServerMetrics | None = None
    access_log: Callable[[Call], None] | None = None


def abort(context: grpc.ServicerContext, error: ServingError) -> Any:
    """End the call with the error's status."""
    message = error.message
    encoded = message.encode("utf-8", "replace")
    if len(encoded) > _MAX_MESSAGE:
        message = encoded[:_MAX_MESSAGE].decode("utf-8", "ignore") + "...TRUNCATED"
    return context.abort(_STATUS[error.code], message)


def surrounded(
    method: str, behavior: Behavior, request_class: Any, hooks: GrpcHooks, finishing: Callable[[], None]
) -> Callable[[bytes, grpc.ServicerContext], Any]:
    """`behavior` as gRPC calls it, with a serialized `request_class`: errors become statuses, the hooks hear of all.

    `finishing` is called right before the answer is given to gRPC.
    """
    metrics, access_log = hooks.metrics, hooks.access_log

    def call(serialized: bytes, context: grpc.ServicerContext) -> Any:
        def time_left() -> float | None:
            # A cancelled call counts as late: either way nobody waits.
            return context.time_remaining() if context.is_active() else 0.0

        started = time.perf_counter()
        if metrics is not None:
            metrics.request_started("GRPC")
        request = response = error = None
        try:
            request = request_class.FromString(serialized)
            response = behavior(request, time_left)
        except ServingError as failure:
            # With its traceback it would keep this call's request and arrays until the garbage collector comes.
            error = failure.untraced()
        except DecodeError:
            error = ServingError(Code.INTERNAL, f"The request is no {request_class.DESCRIPTOR.full_name}")
        except Exception:
            logger.exception("A %s failed", method)
            error = internal_error()
        if metrics is not None:
            model, version, signature = _asked(request, response, error)
            code = Code.OK if error is None else error.code
            seconds = time.perf_counter() - started
            metrics.request_finished(model, version, signature, method, "GRPC", code, seconds)  # type: ignore[arg-type]
        if access_log is not None:
            access_log(
                _record(method, request, response, error, time.perf_counter() - started, context, len(serialized))
            )
        trim_after(len(serialized))
        finishing()
        return response if error is None else abort(context, error)

    return call


def _record(
    method: str,
    request: Any,
    response: Any,
    error: ServingError | None,
    seconds: float,
    context: grpc.ServicerContext,
    request_bytes: int,
) -> Call:
    metadata = dict(context.invocation_metadata())
    traced = [(key, metadata[key]) for key in (_REQUEST_ID, _TRACEPARENT) if key in metadata]
    if traced:
        context.set_trailing_metadata(traced)
    model, version, signature = _asked(request, response, error)
    return Call(
        method=method,
        code=(Code.OK if error is None else error.code).name,
        error=error.message if error is not None else "",
        request_bytes=request_bytes,
        response_bytes=response.ByteSize() if response is not None else 0,
        seconds=round(seconds, 6),
        model=model,
        version=version,
        signature=signature,
        peer=context.peer(),
        request_id=str(metadata.get(_REQUEST_ID, "")),
        traceparent=str(metadata.get(_TRACEPARENT, "")),
    )


def _asked(request: Any, response: Any, error: ServingError | None) -> tuple[str, int | None, str]:
    """Model and version of a call, as the answer says or else as the request does, and the signature that answered."""
    reached = error.version if error is not None else None
    for message in (response, request):
        spec = getattr(message, "model_spec", None)
        if spec is not None and spec.name:
            version = spec.version.value if spec.HasField("version") else reached
            return spec.name, version, spec.signature_name if message is response else ""
    tasks = getattr(request, "tasks", ())
    return (tasks[0].model_spec.name if tasks else ""), reached, ""


class Limited(grpc.GenericRpcHandler):
    """Handlers that refuse calls, at once and on a thread of its own, while too many are in flight."""

    def __init__(
        self, inner: grpc.GenericRpcHandler, pool: CallPool, limit: int, refusal: ServingError, hooks: GrpcHooks
    ) -> None:
        self._inner = inner
        self._pool = pool
        self._limit = limit
        self._refusal = refusal
        self._hooks = hooks
        # gRPC runs a behaviour on the pool it names, which is how refusals overtake the queue.
        self._thread = ThreadPoolExecutor(1, "grpc-refuse")
        self._refusals: dict[str, grpc.RpcMethodHandler] = {}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        handler = self._inner.service(handler_call_details)
        if handler is None or self._pool.in_flight < self._limit:
            return handler
        method = handler_call_details.method.rpartition("/")[2]
        if method not in self._refusals:
            self._refusals[method] = self._refuser(method)
        return self._refusals[method]

    def _refuser(self, method: str) -> grpc.RpcMethodHandler:
        def refuse(_request: None, _time_left: TimeLeft) -> None:
            # A new one each time: an error that is raised again keeps the tracebacks of all times.
            raise self._refusal.untraced()

        behavior = surrounded(method, refuse, _Unread, self._hooks, self._pool.finishing)
        behavior.experimental_thread_pool = self._thread  # type: ignore[attr-defined]
        return grpc.unary_unary_rpc_method_handler(behavior)


class _Unread:
    """The class of a request that nobody looks into: to parse it would cost what the refusal is to save."""

    @staticmethod
    def FromString(_serialized: bytes) -> None:
        return None
