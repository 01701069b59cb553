"""What all clients share: checked arguments, and the steps that each call takes."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from numpy.typing import ArrayLike, NDArray

from vitrine_client import bulk, classification, flows, pictures, tensors
from vitrine_client.errors import InvalidInput, VitrineError, located
from vitrine_client.images import ImageLike, ImageOptions, listed_pictures
from vitrine_client.results import Metadata, ModelStatus, Prediction
from vitrine_client.selection import Selection, is_name, is_text
from vitrine_client.settings import (
    REQUEST_ID,
    Headers,
    Token,
    check_positive,
    check_retries,
    check_timeout,
    checked_headers,
)
from vitrine_client.steps import Call, GetMetadata, Reload, Request, Steps

if TYPE_CHECKING:
    from vitrine_client.model_config import ModelConfig

CLOSED = "the client is closed: open another one"


class ClientBase:
    """One model on one server, or on several servers that serve it alike."""

    def __init__(
        self,
        server: str,
        *,
        model: str,
        version: int | None,
        label: str | None,
        timeout: float,
        retries: int,
        token: Token | None,
        headers: Headers | None,
        max_batch_size: int | None,
    ) -> None:
        self._selection = Selection(model, version, label)
        check_timeout(timeout)
        check_retries(retries)
        if max_batch_size is not None:
            check_positive(max_batch_size, "max_batch_size")
        self._server = server
        self._timeout = float(timeout)
        self._retries = retries
        self._headers = headers if callable(headers) else checked_headers(headers or {})
        self._authorization = token if token is None or callable(token) else _authorization(token)
        self._limit = flows.BatchLimit(max_batch_size)
        self._closed = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._selection} at {self._server}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} has connections of its own and cannot be pickled: make one there")

    def _begin(
        self,
        version: int | None = None,
        label: str | None = None,
        timeout: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Call:
        if self._closed:
            raise RuntimeError(CLOSED)
        if timeout is None:
            timeout = self._timeout
        else:
            check_timeout(timeout)
            timeout = float(timeout)
        selection = self._selection.narrowed(version, label)
        return Call(selection, time.monotonic() + timeout, timeout, self._headers_with(headers))

    def _headers_with(self, headers: Mapping[str, str] | None) -> Mapping[str, str]:
        """What goes along with a call: an id to find it by, the client's headers, and those of the call alone."""
        given = checked_headers(self._headers()) if callable(self._headers) else self._headers
        together = {REQUEST_ID: secrets.token_hex(16), **given}
        if callable(self._authorization):
            token = self._authorization()
            if token is None:
                raise InvalidInput("token: the function that it is returned None")
            together["authorization"] = _authorization(token)
        elif self._authorization is not None:
            together["authorization"] = self._authorization
        if headers:
            together.update(checked_headers(headers))
        return together

    def _pictures(
        self,
        method: str,
        call: Call,
        images: Iterable[ImageLike],
        task: pictures.Task[Any],
        options: ImageOptions,
        *,
        on_error: pictures.OnError = "raise",
        first: int = 0,
    ) -> Steps[list[Any]]:
        def steps() -> Steps[list[Any]]:
            listed = listed_pictures(images)
            return (yield from pictures.ask(call, listed, task, options, self._limit, on_error=on_error, first=first))

        answers = yield from self._told(call, method, steps())
        if on_error == "skip":
            return [answer for answer in answers if not isinstance(answer, VitrineError)]
        asked = flows.asked(call, method, self._server)
        return [located(answer, asked) if isinstance(answer, VitrineError) else answer for answer in answers]

    def _batch(
        self,
        begin: Callable[[], Call],
        batch: bulk.Batch,
        task: pictures.Task[Any],
        options: ImageOptions,
        plan: bulk.Plan,
    ) -> Steps[tuple[bulk.Batch, Any]]:
        """Some of many pictures, with their answers or the error of their request."""
        on_error = plan.on_error_of_batch
        try:
            steps = self._pictures(
                "classify", begin(), batch.images, task, options, on_error=on_error, first=batch.first
            )
            return batch, (yield from steps)
        except VitrineError as error:
            return batch, error

    def _predict(
        self,
        call: Call,
        inputs: Mapping[str, ArrayLike],
        signature_name: str,
        output_filter: Iterable[str],
    ) -> Steps[dict[str, NDArray[Any]]]:
        arrays = _checked_inputs(inputs)
        wanted = _checked_filter(output_filter)
        steps = flows.predict(call, _checked_signature(signature_name), arrays, self._limit, wanted)
        return self._told(call, "predict", steps)

    def _status(self, call: Call) -> Steps[ModelStatus]:
        return self._told(call, "status", flows.status(call))

    def _metadata(self, call: Call) -> Steps[Metadata]:
        return self._told(call, "metadata", _one(GetMetadata(call)))

    def _models(self, call: Call) -> Steps[tuple[ModelStatus, ...]]:
        return self._told(call, "models", flows.models(call), of_one_model=False)

    def _reload(self, call: Call, models: Sequence[ModelConfig]) -> Steps[None]:
        return self._told(call, "reload_config", _one(Reload(call, models)), of_one_model=False)

    def _wait(self, call: Call) -> Steps[int]:
        steps = flows.wait_until_available(call, self._timeout)
        return self._told(call, f"wait_until_available ({call.timeout:g} s)", steps)

    def _told(self, call: Call, method: str, steps: Steps[Any], *, of_one_model: bool = True) -> Steps[Any]:
        return flows.told(call, method, self._server, steps, of_one_model=of_one_model)


def classify_task(signature_name: str) -> pictures.Task[Prediction]:
    return pictures.Task(_checked_signature(signature_name), classification.OUTPUTS, classification.predictions_of)


def features_task(signature_name: str) -> pictures.Task[NDArray[Any]]:
    return pictures.Task(_checked_signature(signature_name), None, classification.features_of)


def _one(request: Request) -> Steps[Any]:
    return (yield request)


def _authorization(token: str) -> str:
    if not isinstance(token, str) or not token or " " in token:
        raise InvalidInput("token: give the bearer token's text alone, without 'Bearer'")
    value = f"Bearer {token}"
    checked_headers({"authorization": value}, "token")
    return value


def _checked_inputs(inputs: Mapping[str, ArrayLike]) -> dict[str, NDArray[Any]]:
    if not isinstance(inputs, Mapping) or not inputs:
        raise InvalidInput('inputs: give a dict of arrays by input name, such as {"image_bytes": [...]}')
    for name in inputs:
        if not is_text(name):
            raise InvalidInput(f"inputs: {name!r} where the name of an input belongs")
    return {name: tensors.as_array(values, f"inputs[{name!r}]") for name, values in inputs.items()}


def _checked_filter(output_filter: Iterable[str]) -> tuple[str, ...]:
    if not isinstance(output_filter, Iterable):
        raise InvalidInput(f"output_filter={output_filter!r}: give names of outputs")
    names = (output_filter,) if isinstance(output_filter, str) else tuple(output_filter)
    for name in names:
        if not is_name(name):
            raise InvalidInput(f"output_filter: {name!r} where the name of an output belongs")
    return names


def _checked_signature(name: str) -> str:
    if not is_text(name):
        raise InvalidInput(f"signature_name={name!r}: give the name of a signature")
    # What the server takes an empty name for; REST's answers are looked up by it.
    return name or "serving_default"
