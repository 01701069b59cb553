"""One client for many threads, and what is left of clients that are closed."""

from __future__ import annotations

import secrets
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from client_processes import TRANSPORTS, Load, ServerProcess, ask, client_of, running
from processes import DEADLINE_SECONDS, wait_until

from vitrine_client import AsyncGrpcClient, Unavailable

BLOCKING = ("grpc", "rest")
SIZE = 20_000_000


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_answers_are_never_mixed_up(echo: ServerProcess, transport: str):
    with Load(client_of(transport, [echo]), callers=32) as load:
        load.wait_for_calls([echo], each=1000)
    assert not load.failures


@pytest.mark.parametrize("transport", BLOCKING)
@pytest.mark.parametrize("frozen", [False, True], ids=["answers come", "no answer comes"])
def test_calls_under_way_end_when_the_client_is_closed(transport: str, frozen: bool):
    with running() as [server]:
        client = client_of(transport, [server], timeout=10 * DEADLINE_SECONDS)
        callers = Callers(client, 8)
        wait_until(lambda: callers.answers >= 50, "answers")
        if frozen:
            server.freeze()
        client.close()
        callers.join()
        assert {type(error) for error in callers.errors} <= {RuntimeError, Unavailable}, callers.errors
        assert len(callers.errors) == 8
        with pytest.raises(RuntimeError, match="closed"):
            client.predict({"x": [1]})
        client.close()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_closed_clients_leave_nothing_behind(echo: ServerProcess, transport: str):
    def use() -> None:
        client = client_of(transport, [echo])
        ask(client, "predict", {"x": [1]})
        if not isinstance(client, AsyncGrpcClient):
            client.close()

    # What a transport makes once and keeps.
    for _ in range(3):
        use()
    threads, files = len(threading.enumerate()), open_files()
    for _ in range(20):
        use()
    # gRPC hangs up and ends its threads some time after the channel is closed.
    wait_until(lambda: len(threading.enumerate()) <= threads + 2, f"threads: {threading.enumerate()}")
    wait_until(lambda: open_files() <= files + 5, f"open files: {files} before")


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_messages_may_be_large(echo: ServerProcess, transport: str):
    sent = secrets.token_bytes(SIZE)
    answer = ask(client_of(transport, [echo]), "predict", {"x": np.array([sent], object)}, "strings")
    assert answer["x"][0] == sent


class Callers:
    """Threads that call until there is an error, and keep it."""

    def __init__(self, client: Any, count: int) -> None:
        self.answers = 0
        self.errors: list[BaseException] = []
        self._client = client
        self._threads = [threading.Thread(target=self._call) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(DEADLINE_SECONDS)
            assert not thread.is_alive()

    def _call(self) -> None:
        try:
            while True:
                self._client.predict({"x": np.array([1])})
                self.answers += 1
        except BaseException as error:
            self.errors.append(error)


def open_files() -> int:
    folder = Path("/proc/self/fd")
    if not folder.exists():
        pytest.skip("needs /proc to count open files")
    return len(list(folder.iterdir()))
