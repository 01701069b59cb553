"""Carries out steps and waits for each."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from vitrine_client.errors import VitrineError
from vitrine_client.steps import SPLIT_IN_FLIGHT, All, Pause, Request, Step, Steps, Work, noted

_Result = TypeVar("_Result")
_Answer = Callable[[Request], Any]


def run(steps: Steps[_Result], answer: _Answer) -> _Result:
    """The result of the steps, whose requests `answer` sends."""
    try:
        step = next(steps)
        while True:
            try:
                done = _do(step, answer)
            except VitrineError as error:
                step = steps.throw(noted(error, step))
            else:
                step = steps.send(done)
    except StopIteration as end:
        result: _Result = end.value
    return result


def _do(step: Step, answer: _Answer) -> Any:
    if isinstance(step, Work):
        return step.run()
    if isinstance(step, Pause):
        return time.sleep(step.seconds)
    if isinstance(step, All):
        return _all(step.requests, answer)
    return answer(step)


def _all(requests: Sequence[Request], answer: _Answer) -> list[Any]:
    def answer_or_error(request: Request) -> Any:
        try:
            return answer(request)
        except VitrineError as error:
            return noted(error, request)

    if len(requests) <= 1:
        return list(map(answer_or_error, requests))
    with ThreadPoolExecutor(SPLIT_IN_FLIGHT, "vitrine-client") as pool:
        return list(pool.map(answer_or_error, requests))
