"""Carries out steps on an event loop, over a gRPC channel of that loop."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import grpc

from vitrine_client import forks, grpc_messages
from vitrine_client.base import CLOSED
from vitrine_client.channel import Settings
from vitrine_client.errors import DeadlineExceeded, VitrineError
from vitrine_client.steps import SPLIT_IN_FLIGHT, All, Call, Pause, Request, Step, Steps, Work, noted

_Result = TypeVar("_Result")
_Methods = Mapping[str, Callable[..., Any]]


class AsyncConnection:
    """Connects with the first request; from then on it belongs to that request's process and loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._channel: grpc.aio.Channel | None = None
        self._methods: _Methods = {}
        self._owner: tuple[int, asyncio.AbstractEventLoop] | None = None
        self._connecting: asyncio.Future[None] | None = None
        self._closed = False

    async def run(self, steps: Steps[_Result]) -> _Result:
        """The result of the steps."""
        try:
            step = next(steps)
            while True:
                try:
                    answer = await self._do(step)
                except VitrineError as error:
                    step = steps.throw(noted(error, step))
                else:
                    step = steps.send(answer)
        except StopIteration as end:
            result: _Result = end.value
        return result

    async def close(self) -> None:
        self._closed = True
        if self._channel is not None and self._owner == _here():
            forks.closed(self._channel)
            await self._channel.close()

    async def _do(self, step: Step) -> Any:
        if isinstance(step, Work):
            return step.run() if step.is_quick() else await _on_thread(step)
        if isinstance(step, Pause):
            return await asyncio.sleep(step.seconds)
        if isinstance(step, All):
            return await self._all(step.requests)
        return await self._answer(step)

    async def _all(self, requests: Sequence[Request]) -> list[Any]:
        free = asyncio.Semaphore(SPLIT_IN_FLIGHT)

        async def answer(request: Request) -> Any:
            async with free:
                try:
                    return await self._answer(request)
                except VitrineError as error:
                    return noted(error, request)

        return list(await asyncio.gather(*map(answer, requests)))

    async def _answer(self, request: Request) -> Any:
        path, content = grpc_messages.encode(request)
        call = request.call
        methods = await self._connected(call)
        try:
            answer = await methods[path](
                content, timeout=call.remaining(), metadata=grpc_messages.metadata(call.headers)
            )
        except grpc.RpcError as error:
            raise grpc_messages.error_of(request, error.code(), error.details() or "") from error
        except (grpc.aio.UsageError, asyncio.CancelledError) as error:
            # What gRPC makes of a channel that another task has closed. The task itself may have been cancelled, too.
            if self._closed and not _is_cancelled():
                raise RuntimeError(CLOSED) from error
            raise
        return grpc_messages.decode(request, answer)

    async def _connected(self, call: Call) -> _Methods:
        if self._closed:
            raise RuntimeError(CLOSED)
        if self._owner is None:
            forks.check()
            # Names are looked up on a thread: meanwhile another task may come here.
            self._owner = _here()
            self._connecting = asyncio.ensure_future(self._connect())
        if self._owner != _here():
            raise RuntimeError(
                "this client belongs to another event loop or was used before a fork: make one for each of them"
            )
        if (connecting := self._connecting) is not None:
            try:
                await asyncio.wait_for(asyncio.shield(connecting), call.remaining())
            except asyncio.TimeoutError:
                raise DeadlineExceeded(f"the servers' names are not looked up within {call.timeout:g} s") from None
            except VitrineError:
                if self._connecting is connecting:
                    self._owner = self._connecting = None
                raise
            self._connecting = None
        return self._methods

    async def _connect(self) -> None:
        target, options = await asyncio.to_thread(self._settings.arguments)
        if self._closed:
            raise RuntimeError(CLOSED)
        self._channel = self._settings.open(grpc.aio, target, options)
        forks.opened(self._channel, asynchronous=True)
        self._methods = grpc_messages.methods_of(self._channel)


async def _on_thread(work: Work) -> Any:
    try:
        return await asyncio.wait_for(asyncio.to_thread(work.run), work.call.remaining())
    except asyncio.TimeoutError:
        raise DeadlineExceeded(f"the pictures are not read within {work.call.timeout:g} s") from None


def _here() -> tuple[int, asyncio.AbstractEventLoop]:
    return os.getpid(), asyncio.get_running_loop()


def _is_cancelled() -> bool:
    """Whether it is the running task that is cancelled, and not what it waits for; as far as Python 3.10 can tell."""
    task = asyncio.current_task()
    return task is not None and sys.version_info >= (3, 11) and task.cancelling() > 0
