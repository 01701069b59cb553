"""What each call does, whichever transport carries it: generators of steps (see `steps`)."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from numpy.typing import NDArray

from vitrine_client import splitting
from vitrine_client.errors import (
    BadResponse,
    DeadlineExceeded,
    InvalidInput,
    ModelNotFound,
    Overloaded,
    Unavailable,
    VitrineError,
    located,
    names_missing_signature,
)
from vitrine_client.results import Metadata, ModelStatus, TensorInfo
from vitrine_client.selection import Selection
from vitrine_client.settings import REQUEST_ID
from vitrine_client.steps import All, Call, GetMetadata, GetStatus, ListModels, Pause, Predict, Request, Steps

_Result = TypeVar("_Result")

_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 1.0
_LAST_LOOK, _SHORTEST_LOOK = 0.2, 0.05
# What may be spent on finding out what a server has instead of what was asked for.
_ADVICE_SECONDS = 2.0
_MOST_NAMES = 20


class BatchLimit:
    """The largest batch that the server takes: given, or learnt from its refusal of a larger one."""

    def __init__(self, size: int | None) -> None:
        self.size = size


def told(call: Call, method: str, server: str, steps: Steps[_Result], *, of_one_model: bool = True) -> Steps[_Result]:
    """The steps; an error among them says what was asked, of whom, and what the server has instead."""
    try:
        return (yield from steps)
    except VitrineError as error:
        reason = error
    advice = yield from _advice(reason, call)
    if isinstance(reason, BadResponse):
        # Found in an answer, and so after its request.
        reason.request_id = call.headers.get(REQUEST_ID, "")
    what = asked(call, method, server) if of_one_model else f"{method} at {server}"
    raised = located(reason, what, advice).with_traceback(reason.__traceback__)
    cause = reason.__cause__
    try:
        raise raised from cause
    finally:
        # By these names the error would keep itself, and all pictures and arrays of the call, alive.
        del reason, raised, cause


def asked(call: Call, method: str, server: str) -> str:
    return f"{method} of {call.selection} at {server}"


def _advice(error: VitrineError, call: Call) -> Steps[str]:
    """What the server does have, where it has no such model, version or signature; "" where that is not the matter."""
    brief = call._replace(deadline=min(call.deadline, time.monotonic() + _ADVICE_SECONDS))
    model = Selection(call.selection.model)
    try:
        if isinstance(error, ModelNotFound):
            if call.selection != model:
                try:
                    known: ModelStatus = yield GetStatus(brief._replace(selection=model))
                    return f"of this model the server has {_names(str(v) for v in known.versions)}"
                except ModelNotFound:
                    pass
            return f"the server has the models {_names(repr(name) for name in (yield ListModels(brief)))}"
        if names_missing_signature(error.server_message):
            metadata: Metadata = yield GetMetadata(brief)
            usable = (repr(name) for name in metadata.signatures if not name.startswith("__"))
            return f"the model has the signatures {_names(usable)}"
    except VitrineError:
        # It is the first error that matters.
        pass
    return ""


def _names(names: Any) -> str:
    listed = list(names)
    more = f" and {len(listed) - _MOST_NAMES} more" if len(listed) > _MOST_NAMES else ""
    return ", ".join(listed[:_MOST_NAMES]) + more if listed else "none"


def predict(
    call: Call,
    signature_name: str,
    inputs: Mapping[str, NDArray[Any]],
    limit: BatchLimit,
    output_filter: tuple[str, ...] = (),
    outputs: Mapping[str, TensorInfo] | None = None,
) -> Steps[dict[str, NDArray[Any]]]:
    """A prediction, in parts where the batch is larger than the server allows."""
    request = Predict(call, signature_name, inputs, output_filter, outputs)
    size = splitting.batch_size(inputs)
    try:
        if size is None or limit.size is None or size <= limit.size:
            answer: dict[str, NDArray[Any]] = yield request
            return answer
        slices = splitting.parts(size, limit.size)
        requests = [request._replace(inputs={name: rows[part] for name, rows in inputs.items()}) for part in slices]
        answers = yield from all_of(requests)
        return splitting.joined(answers, [part.stop - part.start for part in slices])
    except InvalidInput as error:
        allowed = splitting.allowed_batch_size(error.server_message)
        if size is None or allowed is None or allowed >= min(size, limit.size or size):
            raise
        limit.size = allowed
    return (yield from predict(call, signature_name, inputs, limit, output_filter, outputs))


def all_of(requests: Sequence[Request]) -> Steps[list[Any]]:
    """The answers to all requests. Raises the first error."""
    answers = yield All(requests)
    for answer in answers:
        if isinstance(answer, VitrineError):
            raise answer
    return list(answers)


def models(call: Call) -> Steps[tuple[ModelStatus, ...]]:
    """The status of every model that the server serves, by name."""
    names: Sequence[str] = yield ListModels(call)
    requests = [GetStatus(call._replace(selection=Selection(name))) for name in sorted(names)]
    answers = yield All(requests)
    statuses = []
    for answer in answers:
        # A model may have been taken off the list meanwhile.
        if isinstance(answer, ModelNotFound):
            continue
        if isinstance(answer, VitrineError):
            raise answer
        statuses.append(answer)
    return tuple(statuses)


def status(call: Call) -> Steps[ModelStatus]:
    """The status of the versions asked for."""
    chosen = call.selection
    if chosen.label is not None:
        # TensorFlow Serving's status takes no notice of labels, its metadata does.
        metadata: Metadata = yield GetMetadata(call)
        call = call._replace(selection=Selection(chosen.model, metadata.version))
    answer: ModelStatus = yield GetStatus(call)
    return answer


def wait_until_available(call: Call, attempt_seconds: float) -> Steps[int]:
    """Asks for the status until a version is available; a server that is not there yet is waited for, too."""
    seen, pause = "", _FIRST_PAUSE
    while True:
        now = time.monotonic()
        try:
            deadline = min(call.deadline, now + attempt_seconds)
            present = yield from status(call._replace(deadline=deadline, timeout=deadline - now))
            if present.available:
                return present.available[0]
            seen = "; ".join(map(str, present.versions)) or "no version"
        except (InvalidInput, ModelNotFound, Overloaded, Unavailable) as error:
            if isinstance(error, InvalidInput) and call.selection.label is None:
                raise
            # A label that is not assigned yet is invalid input.
            seen = f"{error.summary}: {error}"
        except DeadlineExceeded as error:
            # The last attempt is cut short by the deadline itself: what was seen before says more.
            seen = seen or f"{error.summary}: {error}"
        left = call.deadline - time.monotonic()
        if left <= _SHORTEST_LOOK:
            raise DeadlineExceeded(f"last seen: {seen}")
        # The last look is just before the deadline.
        yield Pause(min(pause, max(left - _LAST_LOOK, left / 2)))
        pause = min(pause * 1.5, _LONGEST_PAUSE)
