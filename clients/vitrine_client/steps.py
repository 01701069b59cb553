"""What a call is made of: the steps between which a client waits, or awaits.

What a call does, in which order, and what is made of the answers, is written once, as generators of these steps
(see `flows`). A client carries the steps out: a blocking one waits for each, an asynchronous one awaits it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

from numpy.typing import NDArray

from vitrine_client.errors import DeadlineExceeded, VitrineError
from vitrine_client.results import TensorInfo
from vitrine_client.selection import Selection
from vitrine_client.settings import REQUEST_ID

if TYPE_CHECKING:
    from vitrine_client.model_config import ModelConfig


class Call(NamedTuple):
    """What all requests of one call share.

    Attributes:
        selection: the model and version asked.
        deadline: when the whole call has to be over, by `time.monotonic()`.
        timeout: the seconds that the call was given.
        headers: what goes along with each request, by lower-case name.
    """

    selection: Selection
    deadline: float
    timeout: float
    headers: Mapping[str, str]

    def remaining(self) -> float:
        """Seconds until the deadline. Raises DeadlineExceeded where there are none."""
        seconds = self.deadline - time.monotonic()
        if seconds <= 0:
            raise DeadlineExceeded(f"nothing within {self.timeout:g} s")
        return seconds


class Predict(NamedTuple):
    """A prediction: outputs by name.

    Attributes:
        inputs: arrays from `tensors.as_array`.
        output_filter: the outputs wanted; all, if empty.
        outputs: what the caller knows of them already, for a transport that does not carry dtypes.
    """

    call: Call
    signature_name: str
    inputs: Mapping[str, NDArray[Any]]
    output_filter: tuple[str, ...] = ()
    outputs: Mapping[str, TensorInfo] | None = None


class GetStatus(NamedTuple):
    """A `ModelStatus`."""

    call: Call


class GetMetadata(NamedTuple):
    """A `Metadata`."""

    call: Call


class ListModels(NamedTuple):
    """The names of the served models."""

    call: Call


class Reload(NamedTuple):
    """Another list of models to serve; None comes back."""

    call: Call
    models: Sequence[ModelConfig]


Request: TypeAlias = "Predict | GetStatus | GetMetadata | ListModels | Reload"


class All(NamedTuple):
    """Several requests, a few at a time. Answered with a list: for each its answer or its VitrineError."""

    requests: Sequence[Request]


class Work(NamedTuple):
    """Something to compute or read; an event loop may do it by itself where `is_quick` says so."""

    call: Call
    run: Callable[[], object]
    is_quick: Callable[[], bool]


class Pause(NamedTuple):
    seconds: float


def noted(error: VitrineError, step: Step) -> VitrineError:
    """The error of a step, with the id of the request that it was."""
    if not isinstance(step, (All, Work, Pause)):
        error.request_id = step.call.headers.get(REQUEST_ID, "")
    return error


# How many requests of one split call are under way at once.
SPLIT_IN_FLIGHT = 4

_Result = TypeVar("_Result")
Step: TypeAlias = "Request | All | Work | Pause"
# What is sent back into the generator is the step's answer; a step that fails raises its VitrineError there.
Steps: TypeAlias = Generator[Step, Any, _Result]
