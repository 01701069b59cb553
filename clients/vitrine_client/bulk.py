"""Thousands of pictures: a bounded number under way at once, answers in order, memory flat."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeAlias, TypeVar

from vitrine_client.errors import (
    DeadlineExceeded,
    InvalidInput,
    ModelNotFound,
    Overloaded,
    Unavailable,
    VitrineError,
)
from vitrine_client.images import ImageLike
from vitrine_client.pictures import OnError, blames_the_call, check_on_error
from vitrine_client.settings import check_positive

Progress: TypeAlias = Callable[[int, int | None], object]

_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Batch:
    """Pictures that share a request; the first one's position is `first`."""

    first: int
    images: list[ImageLike]


@dataclass
class Plan:
    """How pictures are gone through, and how far that is."""

    batch_size: int
    in_flight: int
    on_error: OnError
    progress: Progress | None
    total: int | None
    done: int = 0
    _answered: bool = False

    def __post_init__(self) -> None:
        check_positive(self.batch_size, "batch_size")
        check_positive(self.in_flight, "in_flight")
        check_on_error(self.on_error)

    @property
    def on_error_of_batch(self) -> OnError:
        """A request returns errors in place wherever they do not end everything."""
        return "raise" if self.on_error == "raise" else "return"

    def kept(self, batch: Batch, answers: list[Any] | VitrineError) -> list[Any]:
        """What the caller sees of a batch: its answers, or for each picture the error of the whole request.

        Raises the error where no other request would fare better. Tells how far it is.
        """
        if isinstance(answers, VitrineError):
            if self._ends_all(answers):
                raise answers
            # The frames of its traceback have the pictures, and thousands of errors may be kept.
            error = answers.with_traceback(None)
            error.__cause__ = error.__context__ = None
            answers = [error] * len(batch.images)
        self._answered = self._answered or any(not isinstance(answer, VitrineError) for answer in answers)
        self.done += len(answers)
        if self.progress is not None:
            self.progress(self.done, self.total)
        if self.on_error == "skip":
            return [answer for answer in answers if not isinstance(answer, VitrineError)]
        return answers

    def _ends_all(self, error: VitrineError) -> bool:
        if self.on_error == "raise" or isinstance(error, (ModelNotFound, Unavailable)):
            return True
        if isinstance(error, (DeadlineExceeded, Overloaded)):
            return False
        # Refused credentials, say, or another API: whether one picture or all are refused, answers tell.
        return not self._answered or (isinstance(error, InvalidInput) and blames_the_call(error))


def length(images: object) -> int | None:
    """How many there are, where that can be told without going through them."""
    return len(images) if hasattr(images, "__len__") else None


def batches(images: Iterable[ImageLike], size: int) -> Iterator[Batch]:
    pictures = iter(images)
    first = 0
    while taken := list(islice(pictures, size)):
        yield Batch(first, taken)
        first += len(taken)


async def batches_async(images: Iterable[ImageLike] | AsyncIterable[ImageLike], size: int) -> AsyncIterator[Batch]:
    if not isinstance(images, AsyncIterable):
        for batch in batches(images, size):
            yield batch
        return
    first, taken = 0, list[ImageLike]()
    async for image in images:
        taken.append(image)
        if len(taken) == size:
            yield Batch(first, taken)
            first, taken = first + size, []
    if taken:
        yield Batch(first, taken)


def in_order(work: Callable[[_Item], _Answer], items: Iterable[_Item], in_flight: int) -> Iterator[_Answer]:
    """`work` on each item on `in_flight` threads. Items are taken from the iterable as results are."""
    pool = ThreadPoolExecutor(in_flight, "vitrine-client")
    # Twice as many as are worked on, so that a slow first one does not leave the others idle.
    waiting: deque[Future[_Answer]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= 2 * in_flight:
                yield _result(waiting.popleft())
        while waiting:
            yield _result(waiting.popleft())
    finally:
        # Whoever stops early, by Ctrl-C for one, does not wait for answers that nobody reads.
        pool.shutdown(wait=False, cancel_futures=True)


def _result(future: Future[_Answer]) -> _Answer:
    # CPython may miss a Ctrl-C that comes just before an endless wait, until the wait is over.
    while not future.done():
        wait([future], timeout=0.5)
    return future.result()


async def in_order_async(
    work: Callable[[_Item], Awaitable[_Answer]], items: AsyncIterable[_Item], in_flight: int
) -> AsyncGenerator[_Answer, None]:
    """`work` on `in_flight` items at a time, as tasks. Items are taken from the iterable as results are."""
    free = asyncio.Semaphore(in_flight)

    async def one(item: _Item) -> _Answer:
        async with free:
            return await work(item)

    waiting: deque[asyncio.Task[_Answer]] = deque()
    try:
        async for item in items:
            waiting.append(asyncio.create_task(one(item)))
            if len(waiting) >= 2 * in_flight:
                yield await waiting.popleft()
        while waiting:
            yield await waiting.popleft()
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


def refuse_async(images: object) -> None:
    if isinstance(images, AsyncIterable):
        raise InvalidInput("images: an asynchronous iterable: AsyncGrpcClient takes those")
