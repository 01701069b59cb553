"""The REST API as the HTTP server calls it: which requests are whose, and who hears of them."""

from __future__ import annotations

import json
import logging
import time
import uuid

from vitrine_serving.embedded.core import Core
from vitrine_serving.embedded.errors import Code, ServingError, internal_error
from vitrine_serving.embedded.inference.memory import trim_after
from vitrine_serving.embedded.rest.hooks import Exchange, RestHooks
from vitrine_serving.embedded.rest.http.messages import Request, Response, error_page
from vitrine_serving.embedded.rest.model_api import Answer, ModelApi, failure
from vitrine_serving.embedded.rest.options import RestOptions
from vitrine_serving.embedded.rest.routes import MODEL_APIS, OUTSIDE, Api, Route, find_route

logger = logging.getLogger(__name__)

_TEXT = "text/plain"
_LIVE_PATH = "/healthz"
_READY_PATH = "/readyz"
_MODELS_PATH = "/v1/models"
_LONGEST_REQUEST_ID = 200


class RestApplication:
    """Answers whole requests, on many threads at once; raises nothing."""

    def __init__(self, core: Core, options: RestOptions, hooks: RestHooks | None = None) -> None:
        self._model_api = ModelApi(core, options)
        self._options = options
        self._hooks = hooks or RestHooks()
        health_paths = {_LIVE_PATH, _READY_PATH} if options.extensions else set()
        self._urgent_targets = frozenset(health_paths | {options.prometheus_path})
        self._traced = options.extensions or self._hooks.on_request is not None

    def is_urgent(self, request: Request) -> bool:
        return request.target in self._urgent_targets

    def __call__(self, request: Request) -> Response:
        route = self._start(request)
        try:
            answer = self._answer(request, route)
        except Exception:
            logger.exception("Request %s %s failed", request.method, request.target)
            answer = failure(internal_error())
        return self._tell(request, route, answer)

    def refuse(self, request: Request) -> Response:
        """The answer to one request too many."""
        route = self._start(request)
        limit = self._options.max_concurrent_requests
        answer = failure(ServingError(Code.RESOURCE_EXHAUSTED, f"More than {limit} requests are in flight; try again"))
        response = answer.response._replace(headers=(("Retry-After", "1"),))
        return self._tell(request, route, answer._replace(response=response))

    def _start(self, request: Request) -> Route:
        route = find_route(request.method, request.target)
        if self._hooks.on_started is not None and route.api not in OUTSIDE:
            self._hooks.on_started()
        return route

    def _answer(self, request: Request, route: Route) -> Answer:
        if route.api is Api.BAD_URI:
            return Answer(error_page(400), Code.INVALID_ARGUMENT)
        if route.path == self._options.prometheus_path:
            return self._metrics(route)
        if self._options.extensions and request.method in ("GET", "HEAD"):
            answer = self._extension(route)
            if answer is not None:
                return answer
        if route.api is Api.ELSEWHERE:
            return Answer(error_page(404), Code.NOT_FOUND)
        return self._model_api.answer(request, route)

    def _metrics(self, route: Route) -> Answer:
        if route.full_path != route.path:
            error = f"Unexpected path: {route.full_path}. Should be {route.path}"
            return Answer(Response(400, error.encode(), _TEXT), Code.INVALID_ARGUMENT, error)
        text = self._hooks.metrics_text() if self._hooks.metrics_text is not None else ""
        return Answer(Response(200, text.encode("utf-8", "replace"), _TEXT))

    def _extension(self, route: Route) -> Answer | None:
        if route.path == _LIVE_PATH:
            return Answer(Response(200, b'{"status": "alive"}'))
        if route.path == _READY_PATH and self._hooks.ready is not None:
            ready, document = self._hooks.ready()
            code = Code.OK if ready else Code.UNAVAILABLE
            return Answer(Response(code.http_status, json.dumps(document).encode()), code)
        if route.path == _MODELS_PATH and self._hooks.list_models is not None:
            return Answer(Response(200, json.dumps(self._hooks.list_models()).encode()))
        return None

    def _tell(self, request: Request, route: Route, answer: Answer) -> Response:
        """Call the hooks; the response as the client gets it."""
        seconds = time.monotonic() - request.arrived
        if self._hooks.on_finished is not None and route.api not in OUTSIDE:
            api = route.api.value if route.api in MODEL_APIS else ""
            self._hooks.on_finished(route.target.name, answer.version, answer.signature_name, api, answer.code, seconds)
        response = answer.response
        trim_after(max(len(request.body), len(response.body)))
        if not self._traced:
            return response
        request_id = request.headers.get(b"x-request-id", b"").decode("latin-1")
        if not 0 < len(request_id) <= _LONGEST_REQUEST_ID:
            request_id = uuid.uuid4().hex
        traceparent = request.headers.get(b"traceparent", b"").decode("latin-1")
        if self._hooks.on_request is not None:
            self._hooks.on_request(
                Exchange(
                    request.method,
                    request.target,
                    response.status,
                    len(request.body),
                    len(response.body),
                    seconds,
                    route.target.name,
                    answer.version,
                    request.peer,
                    request_id,
                    traceparent,
                    answer.error,
                )
            )
        trace = (("X-Request-Id", request_id), *((("traceparent", traceparent),) if traceparent else ()))
        return response._replace(headers=response.headers + trace)
