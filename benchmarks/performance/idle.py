"""A thousand connections that ask nothing: what they cost the embedded server; about four minutes."""

from __future__ import annotations

import itertools
import math
import select
import socket
import statistics
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks import load, models
from benchmarks.cores import Cores, cores_apart, kept_to
from benchmarks.performance.curves import percentile, spread
from benchmarks.performance.section import Bench, Findings, NotHere, Section, Table, Target
from benchmarks.processes import ServerProcess, allow_open_files, embedded_server
from vitrine_serving.embedded.rest.options import RestOptions

# Of a thousand connections, and of all else that a process has open.
_OPEN_FILES = 4096
_IDLE = {"gRPC": 500, "REST": 500}
_WORKING = 8
_OPENINGS_A_SECOND = 1000
_CPU_LIMIT = 0.01
# As if chance alone made that many rounds worse: less likely than this is no chance. Two figures are judged in each
# run, so chance is taken for a cost in one run of fifty at most.
_SIGNIFICANT = 0.01
_LEAST_ROUNDS = 7


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


def is_worse(ratios: Sequence[float], higher_is_better: bool) -> bool:
    """Whether more rounds are worse with idle connections than chance explains: the one-sided sign test.

    Of ratios with to without. Source: Dixon and Mood, "The Statistical Sign Test", 1946.
    """
    worse = sum((ratio < 1) == higher_is_better for ratio in ratios)
    as_many = sum(math.comb(len(ratios), count) for count in range(worse, len(ratios) + 1))
    return as_many / 2 ** len(ratios) < _SIGNIFICANT


def run(bench: Bench) -> Findings:
    need_connections()
    found: dict[str, list[float]] = {}
    kilobytes: dict[str, float] = {}
    cores = cores_apart()
    with ExitStack() as both:
        with kept_to(cores.server):
            server = both.enter_context(embedded_server(trivial_model(bench)))
        both.enter_context(kept_to(cores.load))
        _work(server, bench.seconds / 4)
        # What there may be to find is small: more rounds, shorter ones.
        for number in range(4 * bench.rounds):
            bench.say(f"round {number + 1}")
            for state in ("with", "without") if number % 2 else ("without", "with"):
                with ExitStack() as stack:
                    held = []
                    for transport, count in _IDLE.items() if state == "with" else ():
                        before = server.resident_megabytes()
                        held.append(stack.enter_context(Connections(*wires(server, transport, count))))
                        held[-1].ask(_OPENINGS_A_SECOND, count)
                        # Later rounds use again what the first one took.
                        kilobytes.setdefault(transport, (server.resident_megabytes() - before) * 1e3 / count)
                    time.sleep(0.2)
                    began, cpu = time.perf_counter(), server.exact_cpu_seconds()
                    time.sleep(bench.seconds / 4)
                    idle_cpu = (server.exact_cpu_seconds() - cpu) / (time.perf_counter() - began)
                    rate, p99 = _work(server, bench.seconds / 4)
                    # An answer on each says that none was closed meanwhile.
                    for connections in held:
                        connections.ask(_OPENINGS_A_SECOND, len(connections))
                for what, value in (("CPU", idle_cpu), ("rate", rate), ("p99", p99)):
                    found.setdefault(f"{what} {state}", []).append(value)
    return _findings(found, kilobytes, cores)


def _work(server: ServerProcess, seconds: float) -> tuple[float, float]:
    """Requests a second of 8 gRPC and 8 REST clients in closed loops, and the 99th percentile in ms."""
    grpc_client = load.grpc_client(server.grpc_port, [models.trivial_request().SerializeToString()])
    rest_client = load.rest_client(server.rest_port, [models.trivial_json()])
    with load.clients([grpc_client, rest_client] * _WORKING) as running:
        time.sleep(min(0.5, seconds / 2))
        count, began = running.count, time.perf_counter()
        time.sleep(seconds)
        latencies = running.seconds[count:]
        elapsed = time.perf_counter() - began
        running.require_no_errors()
    return len(latencies) / elapsed, percentile(latencies, 99)


def _findings(found: dict[str, list[float]], kilobytes: dict[str, float], cores: Cores) -> Findings:
    middle = {name: statistics.median(values) for name, values in found.items()}
    rows = [
        [
            name,
            f"{middle[f'CPU {state}']:.2%}",
            f"{middle[f'rate {state}']:.0f}",
            f"{middle[f'p99 {state}']:.1f}",
        ]
        for name, state in (("none", "without"), ("500 gRPC, 500 REST", "with"))
    ]
    cpu = middle["CPU with"]
    targets = [
        Target("A server with 1,000 idle connections rests: below 1 % of a core", f"{cpu:.2%}", cpu < _CPU_LIMIT)
    ]
    for what, label, higher in (("rate", "throughput", True), ("p99", "p99", False)):
        pairs = zip(found[f"{what} with"], found[f"{what} without"], strict=True)
        ratios = [with_idle / without for with_idle, without in pairs]
        kept = not is_worse(ratios, higher) if len(ratios) >= _LEAST_ROUNDS else None
        reason = "" if kept is not None else f"; fewer than {_LEAST_ROUNDS} rounds decide nothing"
        wanted = f"1,000 idle connections do not worsen the {label} of 16 clients by more than chance"
        targets.append(Target(wanted, f"{spread(ratios).text(2)} times{reason}", kept))
    sizes = ", ".join(f"{size:.0f} kB for a {transport} connection" for transport, size in kilobytes.items())
    where = "The server and its clients are on cores of their own. " if cores.apart else ""
    text = (
        f"{where}500 gRPC and 500 REST connections were opened, asked once each and left alone; each answered once more at the "
        "end of its round, so the server had closed none. Server CPU at rest was taken before 16 clients (8 gRPC, "
        "8 REST) asked a model that computes next to nothing, as fast as they could; rounds with the idle connections "
        "and without took turns. A difference is chance unless so many of the rounds are worse that the sign test "
        f"gives it less than {_SIGNIFICANT:.0%}. Resident memory grew by {sizes} as they were first opened and used. "
        "The server closes a REST connection that is silent for "
        f"{RestOptions().idle_timeout_seconds:.0f} s, and keeps silent gRPC connections."
    )
    table = Table("Medians of the rounds", ("idle connections", "CPU at rest", "requests/s", "p99 ms"), rows)
    return Findings(text, [table], targets, {**found, "kilobytes a connection": kilobytes})


SECTION = Section("idle", "Idle connections", run, minutes=4)
