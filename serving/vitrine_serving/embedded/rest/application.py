"""REST: TensorFlow Serving's HTTP paths over the core, as an ASGI application."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import Executor
from typing import Any
from urllib.parse import unquote

from vitrine_serving.embedded.core import Core, ModelTarget
from vitrine_serving.embedded.errors import (
    ServingError,
    SignatureNotFoundError,
    internal_error,
    invalid_argument,
    not_found,
)
from vitrine_serving.embedded.rest import json_responses
from vitrine_serving.embedded.rest.json_requests import parse_predict_request

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_MODEL = r"/v1/models/([^/:]+)(?:/versions/([0-9]+)|/labels/([^/:]+))?"
_PREDICTION_PATH = re.compile(_MODEL + r":(classify|regress|predict)", re.IGNORECASE)
_MODEL_PATH = re.compile(_MODEL + r"(/metadata)?", re.IGNORECASE)
_MAX_VERSION = 2**63 - 1


class RestApplication:
    """Reads and writes on the event loop; everything else runs in `executor`.

    The executor needs as many threads as requests are to be in the model at once: batches form from
    concurrent runs only.
    """

    def __init__(self, core: Core, executor: Executor) -> None:
        self._core = core
        self._executor = executor

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await _read_body(receive)
        if body is None:
            return
        path = (scope.get("raw_path") or scope["path"].encode()).decode("latin-1")
        loop = asyncio.get_running_loop()
        status, answer = await loop.run_in_executor(self._executor, self._respond, scope["method"], path, body)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(answer)).encode()),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    def _respond(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        try:
            return 200, self._dispatch(method, path, body)
        except ServingError as error:
            return error.code.http_status, json_responses.error_body(error)
        except Exception:
            logger.exception("Request %s %s failed", method, path)
            failure = internal_error()
            return failure.code.http_status, json_responses.error_body(failure)

    def _dispatch(self, method: str, path: str, body: bytes) -> bytes:
        if method == "POST" and (match := _PREDICTION_PATH.fullmatch(path)):
            target = _target(match)
            if match[4].lower() == "predict":
                return self._predict(target, body)
        elif method == "GET" and (match := _MODEL_PATH.fullmatch(path)):
            target = _target(match)
            if match[4]:
                return json_responses.metadata_body(self._core.metadata(target))
            return json_responses.status_body(self._core.status(target))
        malformed = f"Malformed request: {method} {path}"
        raise invalid_argument(malformed) if path.lower().startswith("/v1/") else not_found(malformed)

    def _predict(self, target: ModelTarget, body: bytes) -> bytes:
        request = parse_predict_request(body)
        try:
            prediction = self._core.predict(target, request.signature_name, request.read)
        except SignatureNotFoundError as error:
            # TensorFlow Serving's REST API looks the signature up itself, with words of its own.
            raise invalid_argument(
                f'Serving signature name: "{error.signature_name}" not found in signature def'
            ) from error
        return json_responses.predict_response(prediction.outputs, request.format)


def _target(match: re.Match[str]) -> ModelTarget:
    name, version, label = match[1], match[2], match[3]
    if version is not None and int(version[:20]) > _MAX_VERSION:
        raise invalid_argument(f"Failed to convert version: {version} to numeric.")
    return ModelTarget(
        unquote(name),
        version=int(version) if version is not None else None,
        label=unquote(label) if label is not None else None,
    )


async def _read_body(receive: Receive) -> bytes | None:
    """The whole body; None when the client hung up before its end."""
    pieces = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        pieces.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(pieces)
