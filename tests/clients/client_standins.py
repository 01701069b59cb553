"""Stand-ins that answer with whatever a test gives them: odd errors, broken bytes, slow answers."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

import grpc
import pytest

PREDICT = "/tensorflow.serving.PredictionService/Predict"
METADATA = "/tensorflow.serving.PredictionService/GetModelMetadata"
STATUS = "/tensorflow.serving.ModelService/GetModelStatus"

# One gray pixel, as PNG.
PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="
)


def skip_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on, whoever sleeps wakes at once and sees that his time has passed.

    So a call may have a long time limit, which a busy machine keeps, and yet be at its end soon.
    """
    clock, skipped = time.monotonic, 0.0

    def sleep(seconds: float) -> None:
        nonlocal skipped
        skipped += seconds

    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(time, "monotonic", lambda: clock() + skipped)


class GrpcStandin:
    """A gRPC server on a real port that calls `answer(path, request bytes, context)` for the reply's bytes."""

    def __init__(self, *options: tuple[str, int]) -> None:
        self.answer: Callable[[str, bytes, grpc.ServicerContext], bytes] = lambda path, request, context: b""
        # Enough threads that what holds requests back is the client.
        self._server = grpc.server(
            futures.ThreadPoolExecutor(40), options=[("grpc.max_receive_message_length", -1), *options]
        )
        self._server.add_generic_rpc_handlers([_Handler(self)])
        self.target = f"localhost:{self._server.add_insecure_port('localhost:0')}"

    def abort(self, code: grpc.StatusCode, details: str) -> None:
        """From now on, every call fails like this."""
        self.answer = lambda path, request, context: context.abort(code, details)

    def __enter__(self) -> GrpcStandin:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop(None).wait()


class _Handler(grpc.GenericRpcHandler):
    def __init__(self, standin: GrpcStandin) -> None:
        self._standin = standin

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        return grpc.unary_unary_rpc_method_handler(
            lambda request, context: self._standin.answer(details.method, request, context)
        )


class RestStandin:
    """An HTTP server on a real port that keeps what it was asked, and with which headers (by lower-case name).

    It answers with the body in `bodies` whose key the path ends with, or else with `body`; it sets `reached` and waits
    for `held` first, and promises a length of `promised` bytes where that is set.
    """

    def __init__(self) -> None:
        self.status = 200
        self.body = b"{}"
        self.bodies: dict[str, bytes] = {}
        self.promised: int | None = None
        self.headers: dict[str, str] = {}
        self.asked: list[tuple[str, str, bytes]] = []
        self.headers_asked: list[dict[str, str]] = []
        self.reached = threading.Event()
        self.held = threading.Event()
        self.held.set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.address = f"localhost:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        standin = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                standin.asked.append(
                    (self.command, self.path, self.rfile.read(int(self.headers.get("Content-Length", 0))))
                )
                standin.headers_asked.append({name.lower(): value for name, value in self.headers.items()})
                standin.reached.set()
                standin.held.wait(30)
                bodies = (body for end, body in standin.bodies.items() if self.path.endswith(end))
                body = next(bodies, standin.body)
                self.send_response(standin.status)
                self.send_header("Content-Length", str(standin.promised or len(body)))
                for name, value in standin.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler

    def __enter__(self) -> RestStandin:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.held.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
