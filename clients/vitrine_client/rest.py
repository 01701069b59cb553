"""The client that speaks REST: slower, and through proxies that know HTTP only."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Mapping
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import quote, urlsplit

import requests
from numpy.typing import NDArray
from requests.adapters import HTTPAdapter
from urllib3.exceptions import ReadTimeoutError

from vitrine_client import json_tensors, messages
from vitrine_client.base import Client
from vitrine_client.errors import (
    BadResponse,
    DeadlineExceeded,
    InvalidInput,
    Unavailable,
    VitrineError,
    error_of_http_status,
)
from vitrine_client.results import Metadata, ModelStatus, Signature, TensorInfo
from vitrine_client.wire import metadata_pb2, model_pb2, status_pb2

# Statuses whose meaning does not depend on who answers: a proxy on the way says them in its own format.
_ANYBODYS_STATUSES = frozenset({408, 413, 429, 499, 502, 503, 504})
_POOL_SIZE = 64
_EXCERPT = 200


class RestClient(Client):
    """A model on a server's REST port.

    Args:
        url: `http://host:port`, `host:port`, or an https address, with or without a path before `/v1`.
        model: the name that the server knows the model by.
        version: None for the highest loaded one.
        timeout: seconds to connect, and then between any two pieces of the answer.

    Raises:
        InvalidInput: an argument that cannot be used.
    """

    def __init__(self, url: str, *, model: str, version: int | None = None, timeout: float = 30.0) -> None:
        if not isinstance(url, str):
            raise InvalidInput(f"url={url!r}: give http://host:port, such as http://localhost:8501")
        address = _address(url)
        super().__init__(address, "REST", model=model, version=version, timeout=timeout)
        self._models = f"{address}/v1/models/{quote(model, safe='')}"
        self._signatures: Mapping[str, Signature] = {}
        self._session = _session(address)

    def _predict(
        self,
        inputs: Mapping[str, NDArray[Any]],
        signature_name: str,
        outputs: Mapping[str, TensorInfo] | None,
    ) -> dict[str, NDArray[Any]]:
        columns = {name: json_tensors.to_json(array, f"inputs[{name!r}]") for name, array in inputs.items()}
        body = {"signature_name": signature_name, "inputs": columns}
        answer = self._send("POST", f"{self._path(self._version)}:predict", self._timeout, body)
        if "outputs" not in answer:
            raise BadResponse(f"no 'outputs' in {_excerpt(str(answer))}")
        values = answer["outputs"]
        if outputs is None:
            outputs = self._outputs(signature_name, values)
            if len(outputs) == 1:
                values = dict.fromkeys(outputs, values)
        if not isinstance(values, dict):
            raise BadResponse(f"one output without a name where {sorted(outputs)} belong")
        return {
            name: json_tensors.from_json(values[name], info, f"outputs[{name!r}]")
            for name, info in outputs.items()
            if name in values
        }

    def _status(self, version: int | None, timeout: float) -> ModelStatus:
        answer = self._send("GET", self._path(version), timeout)
        return messages.status_of(self._model, messages.parse_json(status_pb2.GetModelStatusResponse, answer))

    def _metadata(self) -> Metadata:
        answer = self._send("GET", f"{self._path(self._version)}/metadata", self._timeout)
        metadata = answer.get("metadata")
        if not isinstance(metadata, dict):
            raise BadResponse(f"no 'metadata' in {_excerpt(str(answer))}")
        return messages.metadata_from(
            self._model,
            messages.parse_json(model_pb2.ModelSpec, answer.get("model_spec")),
            messages.parse_json(metadata_pb2.SignatureDefMap, metadata.get("signature_def")),
        )

    def _outputs(self, signature_name: str, values: object) -> Mapping[str, TensorInfo]:
        """The outputs that an answer's values are: JSON does not name a single one, and never tells dtypes."""
        outputs = self._known_outputs(signature_name)
        if not _matches(outputs, values):
            # Nothing asked yet, or the server has moved on to a version with another signature.
            self._signatures = self._metadata().signatures
            outputs = self._known_outputs(signature_name)
        if not _matches(outputs, values):
            raise BadResponse(f"outputs that do not match the metadata of signature {signature_name!r}")
        return outputs

    def _known_outputs(self, signature_name: str) -> Mapping[str, TensorInfo]:
        signature = self._signatures.get(signature_name)
        return signature.outputs if signature else {}

    def _path(self, version: int | None) -> str:
        return self._models if version is None else f"{self._models}/versions/{version}"

    def _send(self, verb: str, url: str, timeout: float, body: object = None) -> dict[str, Any]:
        """The JSON object that a request is answered with."""
        try:
            response = self._session.request(
                verb,
                url,
                data=None if body is None else json.dumps(body),
                headers=None if body is None else {"Content-Type": "application/json"},
                timeout=timeout,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            raise _no_answer(error, timeout) from error
        # TensorFlow Serving writes strings as their bytes, whatever they are; see json_tensors.
        text = response.content.decode("utf-8", "surrogateescape")
        if response.status_code != requests.codes.ok:
            raise _refusal(response.status_code, text)
        answer = _parsed(text)
        if not isinstance(answer, dict):
            raise BadResponse(f"not a JSON object: {_excerpt(text)}")
        return answer

    def _disconnect(self) -> None:
        self._session.close()


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


def _session(address: str) -> requests.Session:
    """A session that several threads can share: nothing in it changes from call to call, cookies are not kept."""
    session = requests.Session()
    # A proxy that the environment names for the world outside does not lead to this machine.
    session.trust_env = not _is_loopback(urlsplit(address).hostname or "")
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(pool_maxsize=_POOL_SIZE))
    return session


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _matches(outputs: Mapping[str, TensorInfo], values: object) -> bool:
    if isinstance(values, dict) and values.keys() != {"b64"}:
        return values.keys() == outputs.keys()
    return len(outputs) == 1


def _no_answer(error: requests.RequestException, timeout: float) -> VitrineError:
    # urllib3 wraps what happened in an account of its retries, of which there are none.
    said = str(getattr(error.args[0], "reason", error) if error.args else error)
    # While the body is being read, requests reports a timeout as a ConnectionError.
    reading = bool(error.args) and isinstance(error.args[0], ReadTimeoutError)
    if reading or isinstance(error, requests.Timeout):
        return DeadlineExceeded(f"nothing for {timeout:g} s: {said}", said)
    if isinstance(error, (requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        return Unavailable(said, said)
    return BadResponse(said, said)


def _refusal(status: int, text: str) -> VitrineError:
    said = _error_text(text)
    if said is None and status not in _ANYBODYS_STATUSES:
        # No server of this API: a 404 here says nothing about the model.
        return BadResponse(f"HTTP {status}, not in TensorFlow Serving's format: {_excerpt(text)}", _excerpt(text))
    said = _excerpt(text) if said is None else said
    return error_of_http_status(status)(said or f"HTTP {status}", said)


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
