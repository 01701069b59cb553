"""What is below /v1/: requests to the core's calls, and its answers to JSON."""

from __future__ import annotations

import logging
import re
from typing import NamedTuple

from vitrine_serving.embedded.core import Core
from vitrine_serving.embedded.errors import (
    Code,
    ServingError,
    SignatureNotFoundError,
    internal_error,
    invalid_argument,
)
from vitrine_serving.embedded.inference.deadlines import TimeLeft, unlimited, until
from vitrine_serving.embedded.rest.codec import responses
from vitrine_serving.embedded.rest.codec.examples import parse_examples_request
from vitrine_serving.embedded.rest.codec.requests import parse_predict_request
from vitrine_serving.embedded.rest.content_encoding import BodyTooLargeError, decoded_body
from vitrine_serving.embedded.rest.http.messages import HTML_DEFAULT, JSON, Request, Response, json_error
from vitrine_serving.embedded.rest.options import RestOptions
from vitrine_serving.embedded.rest.routes import Api, Route

logger = logging.getLogger(__name__)

_CORS_HEADERS = (
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Allow-Methods", "POST, GET"),
    ("Access-Control-Allow-Headers", "Content-Type"),
)
_WEB_ORIGIN = re.compile(rb"https?://")


class Answer(NamedTuple):
    """A response, and what is told of it."""

    response: Response
    code: Code = Code.OK
    error: str = ""
    version: int | None = None
    signature_name: str = ""


def failure(error: ServingError, version: int | None = None) -> Answer:
    return Answer(Response(error.code.http_status, responses.error_body(error)), error.code, error.message, version)


class ModelApi:
    """Answers the API's requests, the malformed ones too. Safe to call from many threads at once."""

    def __init__(self, core: Core, options: RestOptions) -> None:
        self._core = core
        self._options = options

    def answer(self, request: Request, route: Route) -> Answer:
        try:
            answer = self._answer(request, route)
        except ServingError as error:
            answer = failure(error, route.target.version if error.version is None else error.version)
        except BodyTooLargeError as error:
            answer = Answer(json_error(413, str(error)), Code.INVALID_ARGUMENT, str(error))
        except Exception:
            logger.exception("Request %s %s failed", request.method, request.target)
            answer = failure(internal_error(), route.target.version)
        if self._options.enable_cors_support:
            return answer._replace(response=answer.response._replace(headers=_CORS_HEADERS))
        return answer

    def _answer(self, request: Request, route: Route) -> Answer:
        if route.api is Api.PREDICT:
            return self._predict(request, route)
        if route.api is Api.CLASSIFY:
            return self._classify(request, route)
        if route.api is Api.REGRESS:
            return self._regress(request, route)
        if route.api is Api.BAD_VERSION:
            return _bad_version(route)
        if route.api is Api.MALFORMED:
            if request.method == "OPTIONS" and self._options.enable_cors_support:
                return _preflight(request)
            raise invalid_argument(f"Malformed request: {request.method} {route.full_path}")
        if not route.target.name:
            raise invalid_argument("Missing model name in request.")
        if route.api is Api.METADATA:
            metadata = self._core.metadata(route.target)
            return Answer(Response(200, responses.metadata_body(metadata)), version=metadata.version)
        statuses = self._core.status(route.target)
        return Answer(Response(200, responses.status_body(statuses)), version=route.target.version)

    def _predict(self, request: Request, route: Route) -> Answer:
        parsed = parse_predict_request(decoded_body(request, self._options.max_request_bytes))
        try:
            prediction = self._core.predict(
                route.target, parsed.signature_name, parsed.read, time_left=self._time_left(request)
            )
        except SignatureNotFoundError as error:
            # TensorFlow Serving's REST API looks the signature up itself, with words of its own.
            refusal = invalid_argument(f'Serving signature name: "{error.signature_name}" not found in signature def')
            refusal.version = error.version
            raise refusal from error
        body = responses.predict_response(prediction.outputs, parsed.format)
        return Answer(Response(200, body), Code.OK, "", prediction.version, prediction.signature_name)

    def _classify(self, request: Request, route: Route) -> Answer:
        parsed = parse_examples_request(decoded_body(request, self._options.max_request_bytes))
        answer = self._core.classify(
            route.target, parsed.signature_name, parsed.input, time_left=self._time_left(request)
        )
        body = responses.classification_response(answer.result)
        return Answer(Response(200, body), Code.OK, "", answer.version, answer.signature_name)

    def _regress(self, request: Request, route: Route) -> Answer:
        parsed = parse_examples_request(decoded_body(request, self._options.max_request_bytes))
        answer = self._core.regress(
            route.target, parsed.signature_name, parsed.input, time_left=self._time_left(request)
        )
        body = responses.regression_response(answer.result)
        return Answer(Response(200, body), Code.OK, "", answer.version, answer.signature_name)

    def _time_left(self, request: Request) -> TimeLeft:
        timeout = self._options.timeout_seconds
        return until(request.arrived + timeout) if timeout > 0 else unlimited


def _bad_version(route: Route) -> Answer:
    """TensorFlow Serving finds this out before it gets to write an error: the body stays empty."""
    error = f"Failed to convert version in {route.full_path} to numeric."
    return Answer(Response(Code.INVALID_ARGUMENT.http_status, b"", JSON), Code.INVALID_ARGUMENT, error)


def _preflight(request: Request) -> Answer:
    """Answered without a word and without a type, either way."""
    if _WEB_ORIGIN.search(request.headers.get(b"origin", b"")):
        return Answer(Response(200, b"", HTML_DEFAULT))
    return Answer(
        Response(Code.FAILED_PRECONDITION.http_status, b"", HTML_DEFAULT),
        Code.FAILED_PRECONDITION,
        "Origin header is missing in CORS preflight",
    )
