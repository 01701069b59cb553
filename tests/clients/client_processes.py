"""Servers that run as processes of their own, and clients that call them without a pause."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from processes import DEADLINE_SECONDS, wait_until

from vitrine_client import AsyncGrpcClient, Client, GrpcClient, RestClient

PROGRAM = Path(__file__).with_name("standin_program.py")
TRANSPORTS = ("grpc", "aio", "rest")


class ServerProcess:
    """A `standin_program.py` that starts; it can be killed, stopped and started again on the same ports."""

    def __init__(self, *flags: str | Path, host: str = "127.0.0.1", port: int = 0) -> None:
        self._flags = [f"--host={host}", *map(str, flags)]
        self._host = host
        self._scheme = "https" if "--certificate" in flags else "http"
        self.port, self.rest_port = port, 0
        self.launch()

    @property
    def grpc(self) -> str:
        return f"{self._host}:{self.port}"

    @property
    def rest(self) -> str:
        return f"{self._scheme}://{self._host}:{self.rest_port}"

    def start(self) -> None:
        self.launch()
        self.wait_until_ready()

    def launch(self) -> None:
        ports = [f"--grpc-port={self.port}", f"--rest-port={self.rest_port}"]
        self.process = subprocess.Popen([sys.executable, PROGRAM, *self._flags, *ports], stdout=subprocess.PIPE)

    def wait_until_ready(self) -> None:
        assert self.process.stdout is not None
        self.port, self.rest_port = map(int, self.process.stdout.readline().split())

    def kill(self) -> None:
        self.process.kill()
        self._wait()

    def stop(self) -> None:
        """As a rolling update does it: what is under way is finished over gRPC, and cut off over REST."""
        self.process.terminate()
        self._wait()

    def freeze(self) -> None:
        """It still takes connections, since the kernel does that, and answers nothing."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def _wait(self) -> None:
        self.process.wait(DEADLINE_SECONDS)
        assert self.process.stdout is not None
        self.process.stdout.close()


@contextlib.contextmanager
def running(count: int = 1, *flags: str | Path, host: str = "127.0.0.1") -> Iterator[list[ServerProcess]]:
    """Servers; whatever is left of them is killed at the end."""
    servers: list[ServerProcess] = []
    try:
        for _ in range(count):
            servers.append(ServerProcess(*flags, host=host))
        for server in servers:
            server.wait_until_ready()
        yield servers
    finally:
        for server in servers:
            server.kill()


def client_of(transport: str, servers: list[ServerProcess], **options: Any) -> Any:
    """A client of one server, or of a list of several."""
    kinds: dict[str, Callable[..., Client | AsyncGrpcClient]] = {
        "grpc": GrpcClient,
        "aio": AsyncGrpcClient,
        "rest": RestClient,
    }
    targets = [server.rest if transport == "rest" else server.grpc for server in servers]
    return kinds[transport](targets if len(targets) > 1 else targets[0], **{"model": "echo", **options})


def ask(client: Any, method: str, *arguments: Any, **options: Any) -> Any:
    """The answer to one call. A client for asyncio is good for no more: its loop ends with the call."""
    if not isinstance(client, AsyncGrpcClient):
        return getattr(client, method)(*arguments, **options)

    async def awaited() -> Any:
        async with client:
            return await getattr(client, method)(*arguments, **options)

    return asyncio.run(awaited())


class Load:
    """Calls without a pause, from several threads or tasks, over one client that is closed at the end.

    Attributes:
        served: how many calls each server has answered, by its gRPC port.
        failures: what went wrong, wrong answers among them.
    """

    def __init__(self, client: Any, callers: int = 6) -> None:
        self.served: collections.Counter[int] = collections.Counter()
        self.failures: list[BaseException] = []
        self._client = client
        self._ended = threading.Event()
        self._lock = threading.Lock()
        if isinstance(client, AsyncGrpcClient):
            self._threads = [threading.Thread(target=asyncio.run, args=(self._tasks(callers),))]
        else:
            self._threads = [threading.Thread(target=self._calls, args=(number,)) for number in range(callers)]

    def wait_for_calls(self, servers: list[ServerProcess], each: int = 20, *, despite_failures: bool = False) -> None:
        """Until each of the servers has answered so many more calls, or, unless it is despite failures, one failed."""
        before = self.served.copy()
        ports = [server.port for server in servers]
        wait_until(
            lambda: (
                (self.failures and not despite_failures)
                or all(self.served[port] - before[port] >= each for port in ports)
            ),
            f"calls to {ports}, beyond {before}; got {self.served}",
        )

    def wait_for_failures(self, count: int) -> None:
        wait_until(lambda: len(self.failures) >= count, f"{count} failed calls, not {self.failures}")

    def _calls(self, caller: int) -> None:
        number = caller * 1_000_000
        while not self._ended.is_set():
            number += 1
            try:
                self._check(number, self._client.predict({"x": np.array([number])}))
            except BaseException as error:
                self.failures.append(error)

    async def _tasks(self, callers: int) -> None:
        async with self._client:
            await asyncio.gather(*map(self._task, range(callers)))

    async def _task(self, caller: int) -> None:
        number = caller * 1_000_000
        while not self._ended.is_set():
            number += 1
            try:
                self._check(number, await self._client.predict({"x": np.array([number])}))
            except BaseException as error:
                self.failures.append(error)

    def _check(self, number: int, answer: dict[str, Any]) -> None:
        assert answer["x"].tolist() == [number]
        with self._lock:
            self.served[int(answer["server"][0])] += 1

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(DEADLINE_SECONDS)
        if not isinstance(self._client, AsyncGrpcClient):
            self._client.close()
