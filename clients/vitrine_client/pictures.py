"""Asking about pictures: made ready, sent together, and the broken ones told from the others."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from numpy.typing import NDArray

from vitrine_client import tensors
from vitrine_client.errors import DeadlineExceeded, InvalidInput, VitrineError, names_missing_signature
from vitrine_client.flows import BatchLimit, predict
from vitrine_client.images import ImageLike, ImageOptions, encode_image, passes_untouched
from vitrine_client.results import TensorInfo
from vitrine_client.steps import All, Call, Predict, Steps, Work

OnError: TypeAlias = Literal["raise", "skip", "return"]

INPUT = "image_bytes"

# The words of decoders, TensorFlow's and others'.
_ABOUT_PICTURES = re.compile(r"image|decod|jpe?g|png|gif\b|bmp|webp|pixel|channel", re.IGNORECASE)
# The words of TensorFlow Serving for requests that fit no version, signature or input.
_ABOUT_THE_CALL = re.compile(
    r"version.label|match signature|named input|tensor alias|Could not find variable|Malformed"
)

_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Task(Generic[_Answer]):
    """What is asked about each picture.

    Attributes:
        outputs: what is known of the signature's outputs beforehand, None if nothing.
        read: makes one answer for each of `count` pictures of the outputs.
    """

    signature_name: str
    outputs: Mapping[str, TensorInfo] | None
    read: Callable[[Mapping[str, NDArray[Any]], int], Iterable[_Answer]]


def check_on_error(on_error: OnError) -> None:
    if on_error not in ("raise", "skip", "return"):
        raise InvalidInput(f"on_error={on_error!r}: give 'raise', 'skip' or 'return'")


def ask(
    call: Call,
    images: Sequence[ImageLike],
    task: Task[_Answer],
    options: ImageOptions,
    limit: BatchLimit,
    *,
    on_error: OnError = "raise",
    first: int = 0,
) -> Steps[list[_Answer | InvalidInput]]:
    """An answer for each picture, in order; an InvalidInput in its place for one that is at fault itself.

    Args:
        on_error: "raise" raises instead, and sends nothing where a fault shows beforehand.
        first: the position of the first picture, for messages.
    """

    def prepare() -> list[bytes | InvalidInput]:
        return [_prepared(image, first + place, options, len(images) == 1, call) for place, image in enumerate(images)]

    def is_quick() -> bool:
        return len(images) == 1 and passes_untouched(images[0], options)

    prepared: list[bytes | InvalidInput] = yield Work(call, prepare, is_quick)
    results: dict[int, _Answer | InvalidInput] = {
        place: content for place, content in enumerate(prepared) if isinstance(content, InvalidInput)
    }
    if on_error == "raise":
        _raise_first(results)
    good = {place: content for place, content in enumerate(prepared) if isinstance(content, bytes)}
    if good:
        answers = yield from _answers(call, good, task, limit, first)
        if on_error == "raise":
            _raise_first(answers)
        results.update(answers)
    return [results[place] for place in range(len(images))]


def _prepared(image: ImageLike, position: int, options: ImageOptions, alone: bool, call: Call) -> bytes | InvalidInput:
    try:
        return encode_image(image, position, options, alone=alone, timeout=call.remaining())
    except InvalidInput as error:
        if call.deadline <= time.monotonic():
            # It is not the picture's fault that it was not fetched in the time there was.
            raise DeadlineExceeded(f"nothing within {call.timeout:g} s: {error}") from error
        error.positions = (position,)
        return error


def _answers(
    call: Call, pictures: Mapping[int, bytes], task: Task[_Answer], limit: BatchLimit, first: int
) -> Steps[Mapping[int, _Answer | InvalidInput]]:
    """An answer or the server's refusal for each picture, by its place."""
    try:
        outputs = yield from predict(call, task.signature_name, _inputs(pictures.values()), limit, outputs=task.outputs)
        return dict(zip(pictures, task.read(outputs, len(pictures)), strict=True))
    except InvalidInput as error:
        refusal = error
    suspects = pictures.values()
    if not (yield Work(call, lambda: _may_be_a_picture(refusal, suspects), lambda: False)):
        raise refusal
    if len(pictures) == 1:
        [place] = pictures
        return {place: _at(refusal, first + place)}
    # One of them is refused, the server does not say which, and the others are to have their answers.
    requests = [
        Predict(call, task.signature_name, _inputs([content]), (), task.outputs) for content in pictures.values()
    ]
    answers: dict[int, _Answer | InvalidInput] = {}
    for place, answer in zip(pictures, (yield All(requests)), strict=True):
        if isinstance(answer, InvalidInput):
            answers[place] = _at(answer, first + place)
        elif isinstance(answer, VitrineError):
            raise refusal
        else:
            [answers[place]] = task.read(answer, 1)
    return answers


def _inputs(pictures: Any) -> Mapping[str, NDArray[Any]]:
    return {INPUT: tensors.as_array(list(pictures), INPUT)}


def _may_be_a_picture(error: InvalidInput, pictures: Iterable[bytes]) -> bool:
    """Whether a refusal is about what is in the pictures. Others come whatever picture it is."""
    said = error.server_message.replace(INPUT, "")
    if not said or blames_the_call(error):
        return False
    return bool(_ABOUT_PICTURES.search(said)) or any(map(_is_broken, pictures))


def _is_broken(picture: bytes) -> bool:
    try:
        encode_image(picture, 0, ImageOptions(check="full"))
    except InvalidInput:
        return True
    return False


def blames_the_call(error: InvalidInput) -> bool:
    """Whether a server refuses the version, the signature or its inputs, and so every picture."""
    said = error.server_message
    return names_missing_signature(said) or bool(_ABOUT_THE_CALL.search(said))


def _at(error: InvalidInput, position: int) -> InvalidInput:
    return _placed(error, f"images[{position}]: {error}", (position,))


def _placed(error: InvalidInput, message: str, positions: tuple[int, ...]) -> InvalidInput:
    """The error, said of these positions."""
    placed = InvalidInput(message, error.server_message)
    placed.positions = positions
    placed.request_id = error.request_id
    placed.__cause__ = error.__cause__
    return placed


def _raise_first(results: Mapping[int, object]) -> None:
    errors = [error for _, error in sorted(results.items()) if isinstance(error, InvalidInput)]
    if not errors:
        return
    positions = [position for error in errors for position in error.positions]
    also = ", ".join(f"images[{position}]" for position in positions[1:20])
    more = f", and {len(positions) - 20} more" if len(positions) > 20 else ""
    raise _placed(errors[0], f"{errors[0]}{also and f'; also {also}{more}'}", tuple(positions))
