"""The REST API's switches and hooks, round a core that answers what the test says."""

from __future__ import annotations

import gzip
import json
import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from raw_http import Answer, HttpServer, get, http_server, post
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import classification_pb2, regression_pb2

from vitrine_serving.embedded.core import Classification, ModelTarget, Prediction, Regression
from vitrine_serving.embedded.errors import Code, ServingError, not_found
from vitrine_serving.embedded.rest.application import RestApplication
from vitrine_serving.embedded.rest.hooks import Exchange, RestHooks
from vitrine_serving.embedded.rest.options import RestOptions

_PREDICT = "/v1/models/m/versions/3:predict"
_BODY = '{"instances": [1.0]}'


class StubCore:
    """Doubles; fails on the models `late` and `crash`; knows no other than those and `m`."""

    def __init__(self) -> None:
        self.time_left: float | None = None

    def predict(self, target: ModelTarget, signature_name: str, read: Any, time_left: Any) -> Prediction:
        self.time_left = time_left()
        if target.name == "late":
            raise ServingError(Code.DEADLINE_EXCEEDED, "Timed out")
        if target.name == "crash":
            raise ZeroDivisionError("of our own making")
        if target.name != "m":
            raise not_found(f"no {target.name}")
        signature = meta_graph_pb2.SignatureDef()
        signature.inputs["x"].dtype = types_pb2.DT_FLOAT
        return Prediction(
            "m", target.version or 5, signature_name or "serving_default", {"y": 2 * read(signature)["x"]}
        )

    def classify(self, target: ModelTarget, signature_name: str, examples: Any, time_left: Any) -> Classification:
        result = classification_pb2.ClassificationResult()
        for _ in examples.example_list.examples:
            result.classifications.add().classes.add(label="rose", score=0.5)
        return Classification(target.name, 5, signature_name, result)

    def regress(self, target: ModelTarget, signature_name: str, examples: Any, time_left: Any) -> Regression:
        result = regression_pb2.RegressionResult()
        for example in examples.example_list.examples:
            result.regressions.add(value=example.features.feature["x"].float_list.value[0])
        return Regression(target.name, 5, signature_name, result)


@contextmanager
def api(core: Any = None, hooks: RestHooks | None = None, **options: Any) -> Iterator[HttpServer]:
    application = RestApplication(core or StubCore(), RestOptions(**options), hooks)
    with http_server(application, **options) as server:
        yield server


def ask(server: HttpServer, request: str | bytes, head: bool = False) -> Answer:
    with server.connect() as client:
        return client.send(request).answer(head)


def test_classify_and_regress():
    examples = '{"signature_name": "s", "examples": [{"x": 1.5}, {"x": 2.0}]}'
    with api() as server:
        assert ask(server, post("/v1/models/m:classify", examples)).told == {"results": [[["rose", 0.5]]] * 2}
        assert ask(server, post("/v1/models/m:regress", examples)).told == {"results": [1.5, 2.0]}
        assert ask(server, post("/v1/models/m:regress", '{"instances": [1]}')).status == 400


def test_timeouts():
    core = StubCore()
    with api(core, timeout_seconds=30.0) as server:
        assert ask(server, post(_PREDICT, _BODY)).told == {"predictions": [2.0]}
        assert core.time_left is not None
        assert 0 < core.time_left <= 30
        answer = ask(server, post("/v1/models/late:predict", _BODY))
        assert (answer.status, answer.told) == (504, {"error": "Timed out"})
    with api(core, timeout_seconds=0.0) as server:
        ask(server, post(_PREDICT, _BODY))
        assert core.time_left is None


def test_a_failure_of_our_own_is_not_shown(caplog):
    with api() as server:
        answer = ask(server, post("/v1/models/crash:predict", _BODY))
        assert (answer.status, "of our own making" in answer.told["error"]) == (500, False)
    assert "of our own making" in caplog.text


def test_cors():
    allowed = {
        "access-control-allow-origin": "*",
        "access-control-allow-methods": "POST, GET",
        "access-control-allow-headers": "Content-Type",
    }
    preflight = f"OPTIONS {_PREDICT} HTTP/1.1\r\nHost: x\r\n"
    with api(enable_cors_support=True) as server:
        for request, status in (
            (post(_PREDICT, _BODY), 200),
            (post("/v1/models/other:predict", _BODY), 404),
            (get("/v1/nothing"), 400),
            (preflight + "Origin: https://flowers.example\r\n\r\n", 200),
            (preflight + "\r\n", 400),
            (preflight + "Origin: null\r\n\r\n", 400),
        ):
            answer = ask(server, request)
            assert (answer.status, allowed.items() <= answer.headers.items()) == (status, True)
            assert (answer.body == b"") == request.startswith("OPTIONS")
        assert "access-control-allow-origin" not in ask(server, get("/elsewhere")).headers
    with api() as server:
        assert not allowed.keys() & ask(server, post(_PREDICT, _BODY)).headers.keys()
        assert "Malformed request: OPTIONS" in ask(server, preflight + "Origin: https://a\r\n\r\n").told["error"]


def test_prometheus():
    path = "/monitoring/prometheus/metrics"
    with api(hooks=RestHooks(metrics_text=lambda: "a_total 1\n"), prometheus_path=path) as server:
        for request in (get(path), post(path, "")):
            answer = ask(server, request)
            assert (answer.status, answer.headers["content-type"], answer.body) == (200, "text/plain", b"a_total 1\n")
        answer = ask(server, get(path + "?name=a"))
        assert (answer.status, answer.headers["content-type"]) == (400, "text/plain")
        assert answer.body.decode() == f"Unexpected path: {path}?name=a. Should be {path}"
    with api() as server:
        assert ask(server, get(path)).status == 404


def test_extensions():
    readiness = [True]
    hooks = RestHooks(
        ready=lambda: (readiness[0], {"models": {"m": readiness[0]}}), list_models=lambda: {"models": ["m"]}
    )
    with api(hooks=hooks, extensions=True) as server:
        assert ask(server, get("/healthz")).status == 200
        assert ask(server, get("/v1/models")).told == {"models": ["m"]}
        assert ask(server, get("/readyz")).status == 200
        readiness[0] = False
        answer = ask(server, get("/readyz"))
        assert (answer.status, answer.told) == (503, {"models": {"m": False}})
        assert ask(server, "HEAD /readyz HTTP/1.1\r\nHost: x\r\n\r\n", head=True).status == 503
        assert ask(server, post("/healthz", "")).status == 404
    with api(hooks=hooks) as server:
        assert [ask(server, get(path)).status for path in ("/healthz", "/readyz", "/v1/models")] == [404, 404, 400]


def test_the_access_log():
    exchanges: list[Exchange] = []
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with api(hooks=RestHooks(on_request=exchanges.append)) as server:
        answer = ask(server, post(_PREDICT, _BODY, "X-Request-Id: abc", f"traceparent: {trace}"))
        assert (answer.headers["x-request-id"], answer.headers["traceparent"]) == ("abc", trace)
        generated = ask(server, post("/v1/models/other:predict", _BODY)).headers["x-request-id"]
        assert ask(server, get("/elsewhere", f"X-Request-Id: {'x' * 500}")).headers["x-request-id"] != "x" * 500
    first, second, third = exchanges
    assert (first.method, first.path, first.status, first.model, first.version) == ("POST", _PREDICT, 200, "m", 3)
    assert (first.request_bytes, first.response_bytes) == (len(_BODY), len(answer.body))
    assert (first.request_id, first.traceparent, first.peer[:10]) == ("abc", trace, "127.0.0.1:")
    assert first.seconds > 0
    assert (second.status, second.model, second.request_id, second.error) == (404, "other", generated, "no other")
    assert (third.status, third.path, third.model) == (404, "/elsewhere", "")


def test_no_request_id_without_anybody_to_tell():
    with api() as server:
        headers = ask(server, post(_PREDICT, _BODY, "X-Request-Id: abc")).headers
        assert not {"x-request-id", "traceparent"} & headers.keys()


def test_the_metrics_hooks():
    told: list[tuple[Any, ...]] = []
    hooks = RestHooks(on_started=lambda: told.append(("started",)), on_finished=lambda *args: told.append(args))
    with api(hooks=hooks) as server:
        for request in (
            post(_PREDICT, _BODY),
            post("/v1/models/other/versions/9:predict", _BODY),
            post("/v1/models/m:regress", '{"examples": [{"x": 1.0}]}'),
            get("/v1/nothing"),
            get("/elsewhere"),
        ):
            ask(server, request)
    assert [args[:-1] for args in told[1::2]] == [
        ("m", 3, "serving_default", "Predict", Code.OK),
        ("other", 9, "", "Predict", Code.NOT_FOUND),
        ("m", 5, "", "Regress", Code.OK),
        ("", None, "", "", Code.INVALID_ARGUMENT),
    ]
    assert told[0::2] == [("started",)] * 4
    assert all(args[-1] > 0 for args in told[1::2])


def test_too_many_requests_are_told_to_try_again():
    told: list[Code] = []
    hooks = RestHooks(on_finished=lambda *args: told.append(args[4]))
    application = RestApplication(StubCore(), RestOptions(max_concurrent_requests=1, extensions=True), hooks)

    class Full:
        """As if every request came while another is in flight."""

        __call__ = staticmethod(application.refuse)
        refuse = staticmethod(application.refuse)
        is_urgent = staticmethod(application.is_urgent)

    with http_server(Full()) as server:
        answer = ask(server, post(_PREDICT, _BODY))
    assert (answer.status, answer.headers["retry-after"]) == (429, "1")
    assert "requests are in flight" in answer.told["error"]
    assert told == [Code.RESOURCE_EXHAUSTED]


def gzipped(body: bytes) -> bytes:
    return post(_PREDICT, "", "Content-Encoding: gzip").replace("Length: 0", f"Length: {len(body)}").encode() + body


def lying_about_its_length(body: bytes) -> bytes:
    return body[:-4] + (100).to_bytes(4, "little")


def test_a_gzip_bomb_is_never_inflated():
    compressor = zlib.compressobj(wbits=31)
    bomb = b"".join(compressor.compress(bytes(1024 * 1024)) for _ in range(120)) + compressor.flush()
    with api() as server:
        tracemalloc.start()
        for body in (bomb, lying_about_its_length(bomb)):
            assert "document is empty" in ask(server, gzipped(body)).told["error"]
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 16 * 1024 * 1024


@pytest.mark.parametrize(("limit", "status"), [(100, 413), (1000, 200), (0, 200)])
def test_the_limit_on_bodies_is_for_inflated_ones_too(limit, status):
    body = json.dumps({"instances": np.zeros(100, int).tolist()}).encode()
    with api(max_request_bytes=limit) as server:
        assert ask(server, gzipped(gzip.compress(body))).status == status
