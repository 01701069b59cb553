"""The client that speaks REST: slower, and through proxies that know HTTP only."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

from numpy.typing import NDArray

from vitrine_client import json_tensors, messages
from vitrine_client.blocking import Client
from vitrine_client.errors import (
    BadResponse,
    InvalidInput,
    ModelNotFound,
    ServerError,
    VitrineError,
    error_of_http_status,
    one_line,
)
from vitrine_client.http import HttpSession
from vitrine_client.images.urls import without_credentials
from vitrine_client.results import Metadata, Signature, TensorInfo
from vitrine_client.selection import Selection
from vitrine_client.settings import TLS, Headers, Token
from vitrine_client.steps import Call, GetMetadata, GetStatus, ListModels, Predict, Request
from vitrine_client.wire import metadata_pb2, model_pb2, status_pb2

# Statuses whose meaning does not depend on who answers: a proxy on the way says them in its own format.
_ANYBODYS_STATUSES = frozenset({401, 403, 407, 408, 413, 429, 499, 502, 503, 504})
_EXCERPT = 200
_OK = 200
# How long the signatures of whatever version answers now are taken for the same.
_SIGNATURE_SECONDS = 10.0


class RestClient(Client):
    """A model on a server's REST port, or on several servers' that serve it alike.

    Args:
        url: `http://host:port`, `host:port`, or an https address, with or without a path before `/v1`; or a list of
            them, to take turns between them and go round one that is gone.
        model: the name that the server knows the model by.
        version, label: the version to ask, by number or by label; the highest loaded one if both are None.
        timeout: seconds from a call to its whole answer, retries included.
        retries: how often a call is made again that the server could not take (429, 502, 503, a lost connection), 0 to
            4; the first time at once, then after 0.4 s, doubling up to 1 s, or after what the server's `Retry-After`
            asks for.
        tls: for https addresses: whom to trust, the client's own certificate; None for the public ones and none.
        token: sent as `authorization: Bearer ...`, or a function that returns the present one for each call. Without
            https anybody on the way can read it.
        headers: texts by name that go along with every call, or a function that returns them for each call, such as
            one that injects the present trace.
        max_batch_size: rows in one request; larger batches are sent in parts. None learns it from the server's refusal
            of a larger one.

    Raises:
        InvalidInput: an argument that cannot be used.
    """

    def __init__(
        self,
        url: str | Sequence[str],
        *,
        model: str,
        version: int | None = None,
        label: str | None = None,
        timeout: float = 30.0,
        retries: int = 4,
        tls: TLS | None = None,
        token: Token | None = None,
        headers: Headers | None = None,
        max_batch_size: int | None = None,
    ) -> None:
        addresses = _addresses(url)
        if tls is not None and not (isinstance(tls, TLS) and all(a.startswith("https://") for a in addresses)):
            raise InvalidInput(f"tls={tls!r}: give vitrine_client.TLS(...), and addresses that begin with https://")
        super().__init__(
            f"{', '.join(map(without_credentials, addresses))} (REST)",
            model=model,
            version=version,
            label=label,
            timeout=timeout,
            retries=retries,
            token=token,
            headers=headers,
            max_batch_size=max_batch_size,
        )
        self._signatures: dict[Selection, tuple[float, Mapping[str, Signature]]] = {}
        self._session = HttpSession(addresses, tls, retries)

    def _answer(self, request: Request) -> Any:
        call = request.call
        if isinstance(request, Predict):
            return self._prediction(request)
        if isinstance(request, GetStatus):
            answer = self._send(call, "GET", _path(call.selection))
            return messages.status_of(
                call.selection.model, messages.parse_json(status_pb2.GetModelStatusResponse, answer)
            )
        if isinstance(request, GetMetadata):
            return self._metadata_of(call)
        if isinstance(request, ListModels):
            return self._names(call)
        raise InvalidInput("REST has no such request: use gRPC")

    def _prediction(self, request: Predict) -> dict[str, NDArray[Any]]:
        call = request.call
        columns = {name: json_tensors.to_json(array, f"inputs[{name!r}]") for name, array in request.inputs.items()}
        body = {"signature_name": request.signature_name, "inputs": columns}
        answer = self._send(call, "POST", f"{_path(call.selection)}:predict", body)
        if "outputs" not in answer:
            raise BadResponse(f"no 'outputs' in {_excerpt(str(answer))}")
        values, outputs = answer["outputs"], request.outputs
        if outputs is None:
            outputs = self._outputs(call, request.signature_name, values)
            if len(outputs) == 1:
                values = dict.fromkeys(outputs, values)
        if not isinstance(values, dict):
            raise BadResponse(f"one output without a name where {sorted(outputs)} belong")
        if missing := sorted(set(request.output_filter) - values.keys()):
            # As TensorFlow Serving says it over gRPC; REST has no filter of its own.
            raise InvalidInput(f"output tensor alias not found in signature: {missing[0]}")
        return {
            name: json_tensors.from_json(values[name], info, f"outputs[{name!r}]")
            for name, info in outputs.items()
            if name in values and (not request.output_filter or name in request.output_filter)
        }

    def _metadata_of(self, call: Call) -> Metadata:
        answer = self._send(call, "GET", f"{_path(call.selection)}/metadata")
        metadata = answer.get("metadata")
        if not isinstance(metadata, dict):
            raise BadResponse(f"no 'metadata' in {_excerpt(str(answer))}")
        return messages.metadata_from(
            call.selection.model,
            messages.parse_json(model_pb2.ModelSpec, answer.get("model_spec")),
            messages.parse_json(metadata_pb2.SignatureDefMap, metadata.get("signature_def")),
        )

    def _names(self, call: Call) -> tuple[str, ...]:
        said = ""
        try:
            models = self._send(call, "GET", "/v1/models").get("models")
        except (BadResponse, InvalidInput, ModelNotFound) as error:
            models, said = None, error.server_message
        if not isinstance(models, list):
            raise ServerError(
                "the server has no list of its models (the embedded server has one with --rest_api_extensions)"
                f"{said and f': {said}'}",
                said,
            )
        return tuple(str(model.get("name")) for model in models if isinstance(model, dict))

    def _outputs(self, call: Call, signature_name: str, values: object) -> Mapping[str, TensorInfo]:
        """The outputs that an answer's values are: JSON does not name a single one, and never tells dtypes."""
        asked, signatures = self._signatures.get(call.selection, (0.0, {}))
        outputs = _outputs_of(signatures, signature_name)
        # Another version may give an output of the same name another dtype, which does not show in JSON.
        old = call.selection.version is None and time.monotonic() - asked > _SIGNATURE_SECONDS
        if old or not _matches(outputs, values):
            signatures = self._metadata_of(call).signatures
            self._signatures[call.selection] = time.monotonic(), signatures
            outputs = _outputs_of(signatures, signature_name)
        if not _matches(outputs, values):
            raise BadResponse(f"outputs that do not match the metadata of signature {signature_name!r}")
        return outputs

    def _send(self, call: Call, verb: str, path: str, body: object = None) -> dict[str, Any]:
        """The JSON object that a request is answered with."""
        status, content = self._session.send(call, verb, path, None if body is None else json.dumps(body))
        # TensorFlow Serving writes strings as their bytes, whatever they are; see json_tensors.
        text = content.decode("utf-8", "surrogateescape")
        if status != _OK:
            raise _refusal(status, text)
        answer = _parsed(text)
        if not isinstance(answer, dict):
            raise BadResponse(f"not a JSON object: {_excerpt(text)}")
        return answer

    def _disconnect(self) -> None:
        self._session.close()


def _addresses(url: str | Sequence[str]) -> tuple[str, ...]:
    if isinstance(url, str):
        return (_address(url),)
    if not isinstance(url, Sequence) or not url or not all(isinstance(one, str) for one in url):
        raise InvalidInput(f"url={url!r}: give http://host:port, such as http://localhost:8501, or a list of them")
    return tuple(map(_address, url))


def _path(selection: Selection) -> str:
    model = f"/v1/models/{quote(selection.model, safe='')}"
    if selection.label is not None:
        return f"{model}/labels/{quote(selection.label, safe='')}"
    return model if selection.version is None else f"{model}/versions/{selection.version}"


def _address(url: str) -> str:
    address = url if "://" in url else f"http://{url}"
    try:
        parts = urlsplit(address)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.query or parts.fragment:
        raise InvalidInput(f"url={url!r}: give http://host:port, such as http://localhost:8501")
    return address.rstrip("/")


def _outputs_of(signatures: Mapping[str, Signature], signature_name: str) -> Mapping[str, TensorInfo]:
    signature = signatures.get(signature_name)
    return signature.outputs if signature else {}


def _matches(outputs: Mapping[str, TensorInfo], values: object) -> bool:
    if isinstance(values, dict) and values.keys() != {"b64"}:
        return values.keys() == outputs.keys()
    return len(outputs) == 1


def _refusal(status: int, text: str) -> VitrineError:
    said = _error_text(text)
    if said is None and status not in _ANYBODYS_STATUSES:
        # No server of this API: a 404 here says nothing about the model.
        return BadResponse(f"HTTP {status}, not in TensorFlow Serving's format: {_excerpt(text)}", _excerpt(text))
    said = _excerpt(text) if said is None else said
    return error_of_http_status(status)(one_line(said) or f"HTTP {status}", said)


def _error_text(text: str) -> str | None:
    answer = _parsed(text)
    if isinstance(answer, dict) and isinstance(answer.get("error"), str):
        return _encodable(answer["error"])
    # TensorFlow Serving escapes error texts the way C does, which JSON does not always know: \' or \303.
    if match := re.fullmatch(r'\s*\{\s*"error":\s*"(.*)"\s*\}\s*', text, re.DOTALL):
        escaped = match[1].encode("utf-8", "surrogateescape")
        return escaped.decode("unicode_escape", "replace").encode("latin-1", "replace").decode("utf-8", "replace")
    return None


def _parsed(text: str) -> Any:
    """Parsed JSON; None where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _excerpt(text: str) -> str:
    short = " ".join(_encodable(text).split())
    return short if len(short) <= _EXCERPT else f"{short[:_EXCERPT]}..."


def _encodable(text: str) -> str:
    """Text without lone surrogates, which no terminal or log takes."""
    return text.encode("utf-8", "replace").decode("utf-8")
