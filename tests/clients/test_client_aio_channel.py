"""The client for asyncio: cancelled, closed, and in the wrong event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import grpc
import pytest
from client_processes import ServerProcess
from client_standins import GrpcStandin
from processes import DEADLINE_SECONDS

from vitrine_client import AsyncGrpcClient, DeadlineExceeded, Unavailable

ROWS = {"x": [1]}


class Held:
    """Calls that come to a server and stay there until they are given up or the test is over."""

    def __init__(self, standin: GrpcStandin) -> None:
        self.reached, self.given_up, self.over = threading.Event(), threading.Event(), threading.Event()
        self.calls = 0
        standin.answer = self._answer

    def _answer(self, path: str, request: bytes, context: grpc.ServicerContext) -> bytes:
        self.calls += 1
        context.add_callback(self.given_up.set)
        self.reached.set()
        self.over.wait(DEADLINE_SECONDS)
        return b""


@pytest.fixture
def held(grpc_standin: GrpcStandin) -> Iterator[Held]:
    held = Held(grpc_standin)
    yield held
    held.over.set()


def test_a_cancelled_task_cancels_its_call_at_the_server(grpc_standin: GrpcStandin, held: Held):
    async def main() -> None:
        async with AsyncGrpcClient(grpc_standin.target, model="echo") as client:
            task = asyncio.ensure_future(client.predict(ROWS))
            assert await asyncio.to_thread(held.reached.wait, DEADLINE_SECONDS)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await asyncio.to_thread(held.given_up.wait, DEADLINE_SECONDS)

    asyncio.run(main())
    assert held.calls == 1


def test_the_loop_goes_on_while_calls_wait_for_their_deadline(grpc_standin: GrpcStandin, held: Held):
    ticks: list[bool] = []

    async def tick() -> None:
        while True:
            ticks.append(held.reached.is_set())
            await asyncio.sleep(0.01)

    async def main() -> None:
        async with AsyncGrpcClient(grpc_standin.target, model="echo") as client:
            # Connecting is not what is looked at, and takes none of the time.
            held.over.set()
            await client.predict(ROWS)
            held.over.clear()
            held.reached.clear()
            ticking = asyncio.ensure_future(tick())
            with pytest.raises(DeadlineExceeded):
                await client.predict(ROWS, timeout=1)
            # While the call was at the server.
            assert any(ticks)
            ticking.cancel()

    asyncio.run(main())


def test_calls_under_way_end_when_the_client_is_closed(grpc_standin: GrpcStandin, held: Held):
    async def main() -> None:
        client = AsyncGrpcClient(grpc_standin.target, model="echo", timeout=10 * DEADLINE_SECONDS)
        tasks = [asyncio.ensure_future(client.predict(ROWS)) for _ in range(5)]
        assert await asyncio.to_thread(held.reached.wait, DEADLINE_SECONDS)
        await client.close()
        done, waiting = await asyncio.wait(tasks, timeout=DEADLINE_SECONDS)
        assert not waiting
        # Not CancelledError, which would end the tasks that wait for the answers without a word.
        assert {type(task.exception()) for task in done} <= {RuntimeError, Unavailable}
        with pytest.raises(RuntimeError, match="closed"):
            await client.predict(ROWS)
        await client.close()

    asyncio.run(main())


def test_a_client_that_is_closed_while_it_connects_stays_closed(echo: ServerProcess):
    async def main() -> None:
        client = AsyncGrpcClient(echo.grpc, model="echo")
        task = asyncio.ensure_future(client.predict(ROWS))
        await asyncio.sleep(0)
        await client.close()
        with pytest.raises((RuntimeError, Unavailable)):
            await task

    asyncio.run(main())


def test_a_client_belongs_to_the_loop_of_its_first_call(echo: ServerProcess):
    client = AsyncGrpcClient(echo.grpc, model="echo")

    async def first() -> None:
        await client.predict(ROWS)

    async def second() -> None:
        with pytest.raises(RuntimeError, match="belongs to another event loop"):
            await client.predict(ROWS)
        await client.close()

    asyncio.run(first())
    asyncio.run(second())


def test_many_first_calls_connect_once(echo: ServerProcess, monkeypatch: pytest.MonkeyPatch):
    opened = []
    really_open = grpc.aio.insecure_channel

    def spy(*arguments: object, **options: object) -> grpc.aio.Channel:
        opened.append(arguments)
        return really_open(*arguments, **options)

    monkeypatch.setattr(grpc.aio, "insecure_channel", spy)

    async def main() -> None:
        async with AsyncGrpcClient(echo.grpc, model="echo") as client:
            answers = await asyncio.gather(*(client.predict({"x": [number]}) for number in range(100)))
        assert [answer["x"].tolist() for answer in answers] == [[number] for number in range(100)]

    asyncio.run(main())
    assert len(opened) == 1


def test_names_that_cannot_be_looked_up_are_looked_up_again():
    async def main() -> None:
        async with AsyncGrpcClient(["nowhere.invalid:1", "nowhere.invalid:2"], model="echo") as client:
            for _ in range(2):
                errors = await asyncio.gather(*(client.predict(ROWS) for _ in range(5)), return_exceptions=True)
                assert {type(error) for error in errors} == {Unavailable}
                assert all("nowhere.invalid" in str(error) for error in errors)

    asyncio.run(main())
