"""Many connections held by one thread, to a server of a model that computes next to nothing."""

from __future__ import annotations

import itertools
import select
import socket
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import load, models
from benchmarks.performance.section import Bench, NotHere
from benchmarks.processes import ServerProcess, allow_open_files

# Of a thousand connections, and of all else that a process has open.
_OPEN_FILES = 4096


class _Connection:
    def __init__(self, port: int, wire: load.Wire) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.wire = wire
        # When each request was given to it that is not answered yet; the first is on its way.
        self.asked: deque[float] = deque()
        self.socket.sendall(wire.opening)


class Connections:
    """Connections held by one thread, silent but for `ask`."""

    def __init__(self, port: int, wires: Sequence[load.Wire]) -> None:
        """One connection for each of the wires, all to `port`."""
        self._poller = select.epoll()
        self._by_fd: dict[int, _Connection] = {}
        for wire in wires:
            connection = _Connection(port, wire)
            self._by_fd[connection.socket.fileno()] = connection
            self._poller.register(connection.socket.fileno(), select.EPOLLIN)

    def ask(self, rate: float, count: int) -> list[float]:
        """Send `count` requests at `rate` a second, the connections in turn; returns their latencies in seconds.

        Raises RuntimeError for a connection that was closed and for a request that failed or was not answered.
        """
        turn = itertools.cycle(self._by_fd.values())
        latencies: list[float] = []
        asked, begin = 0, time.perf_counter()
        while len(latencies) < count:
            now = time.perf_counter()
            while asked < count and begin + asked / rate <= now:
                self._add(next(turn), now)
                asked += 1
            wait = begin + asked / rate - now if asked < count else 60.0
            events = self._poller.poll(wait)
            if asked == count and not events:
                raise RuntimeError(f"{count - len(latencies)} requests were not answered within 60 s")
            for fd, _ in events:
                latencies.extend(self._receive(self._by_fd[fd]))
        return latencies

    def __len__(self) -> int:
        return len(self._by_fd)

    def close(self) -> None:
        for connection in self._by_fd.values():
            connection.socket.close()
        self._poller.close()

    def __enter__(self) -> Connections:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @staticmethod
    def _add(connection: _Connection, now: float) -> None:
        connection.asked.append(now)
        if len(connection.asked) == 1:
            connection.socket.sendall(connection.wire.request())

    @staticmethod
    def _receive(connection: _Connection) -> Iterator[float]:
        data = connection.socket.recv(65536)
        if not data:
            raise RuntimeError("the server closed a connection")
        is_whole, reply = connection.wire.receive(data)
        if is_whole:
            yield time.perf_counter() - connection.asked.popleft()
            if connection.asked:
                reply += connection.wire.request()
        if reply:
            connection.socket.sendall(reply)


def need_connections() -> None:
    """Let this process, and the servers it starts, hold a thousand connections; raises NotHere where they may not."""
    try:
        allow_open_files(_OPEN_FILES)
    except OSError as error:
        raise NotHere(str(error)) from error


def trivial_model(bench: Bench) -> Path:
    """The base path of y = x / 2 + 2: what a request to it costs is the server's own."""
    base = bench.models / "trivial"
    if not (base / "1" / "saved_model.pb").exists():
        models.write_trivial(base / "1")
    return base


def wires(server: ServerProcess, transport: str, count: int) -> tuple[int, list[load.Wire]]:
    """The port, and `count` clients of the trivial model for Connections."""
    if transport == "gRPC":
        message = models.trivial_request().SerializeToString()
        return server.grpc_port, [load.GrpcWire(message) for _ in range(count)]
    return server.rest_port, [load.RestWire(models.trivial_json()) for _ in range(count)]
