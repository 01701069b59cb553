"""A thousand connections that ask nothing: what they cost the embedded server; about three minutes."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from benchmarks.cores import Cores, cores_apart, kept_to
from benchmarks.performance.connections import Connections, need_connections, trivial_model, wires
from benchmarks.performance.curves import percentile
from benchmarks.performance.section import Bench, Findings, Section, Table, Target
from benchmarks.processes import ServerProcess, embedded_server
from vitrine_serving.embedded.rest.options import RestOptions

_IDLE = {"gRPC": 500, "REST": 500}
_WORKING = 8
# Of those that work, requests a second: a part of what one core can do.
_RATES = {"gRPC": 400, "REST": 1200}
# How long one server is asked before it is the other's turn: what else goes on in the machine is the same for both.
_TURN_SECONDS = 0.1
_TURNS_A_ROUND = 20
_OPENINGS_A_SECOND = 1000
_CPU_LIMIT = 0.01
# As if chance alone made that many turns worse: what is less likely than one in so many is no chance. Four figures are
# judged in a run.
_ONE_IN = 100
_LEAST_TURNS = 7


def is_worse(ratios: Sequence[float]) -> bool:
    """Whether more turns are worse with idle connections than chance explains: the one-sided sign test.

    Of costs with to without. Source: Dixon and Mood, "The Statistical Sign Test", 1946.
    """
    as_many = sum(math.comb(len(ratios), count) for count in range(_worse(ratios), len(ratios) + 1))
    return as_many * _ONE_IN < 2 ** len(ratios)


def _worse(ratios: Sequence[float]) -> int:
    return sum(ratio > 1 for ratio in ratios)


def requests_a_turn(transport: str) -> int:
    return round(_RATES[transport] * _TURN_SECONDS)


@dataclass(frozen=True)
class Turn:
    """What the same requests cost the two servers, one just after the other.

    Attributes:
        cpu: server CPU a request, in seconds: of the server with idle connections, and of the other.
        latencies: of each request, in seconds, likewise.
    """

    cpu: tuple[float, float]
    latencies: tuple[Sequence[float], Sequence[float]]

    @property
    def cpu_ratio(self) -> float:
        return self.cpu[0] / self.cpu[1]

    @property
    def latency_ratio(self) -> float:
        """Of the 95th percentiles: a turn has too few requests for the 99th."""
        return percentile(self.latencies[0], 95) / percentile(self.latencies[1], 95)


@dataclass(frozen=True)
class _Subject:
    """A server and the connections to it that work, by transport."""

    server: ServerProcess
    working: Mapping[str, Connections]

    def ask(self, transport: str) -> tuple[float, list[float]]:
        count = requests_a_turn(transport)
        cpu = self.server.exact_cpu_seconds()
        latencies = self.working[transport].ask(_RATES[transport], count)
        return (self.server.exact_cpu_seconds() - cpu) / count, latencies


@contextmanager
def two_servers(bench: Bench, cores: Cores) -> Iterator[list[_Subject]]:
    """Two embedded servers of the trivial model, which share the cores for servers, with clients on the others."""
    with ExitStack() as stack:
        with kept_to(cores.server):
            servers = [stack.enter_context(embedded_server(trivial_model(bench))) for _ in range(2)]
        stack.enter_context(kept_to(cores.load))
        yield [
            _Subject(
                server,
                {
                    transport: stack.enter_context(Connections(*wires(server, transport, _WORKING)))
                    for transport in _RATES
                },
            )
            for server in servers
        ]


def take_turns(holder: _Subject, other: _Subject, turns: int) -> dict[str, list[Turn]]:
    """Ask both, by each transport and `turns` times, every second time the other one first."""
    found: dict[str, list[Turn]] = {transport: [] for transport in _RATES}
    for number in range(turns):
        for transport, kept in found.items():
            if number % 2:
                holders, others = holder.ask(transport), other.ask(transport)
            else:
                others, holders = other.ask(transport), holder.ask(transport)
            kept.append(Turn((holders[0], others[0]), (holders[1], others[1])))
    return found


def run(bench: Bench) -> Findings:
    need_connections()
    held: dict[str, list[Turn]] = {transport: [] for transport in _RATES}
    control: dict[str, list[Turn]] = {transport: [] for transport in _RATES}
    rest: list[float] = []
    kilobytes: dict[str, float] = {}
    cores = cores_apart()
    turns = _TURNS_A_ROUND * bench.rounds
    with two_servers(bench, cores) as pair:
        take_turns(pair[0], pair[1], 2)
        # Two processes of one program differ a little, too: each is the one with the connections once.
        for holder, other in (pair, pair[::-1]):
            bench.say("without idle connections, as a control")
            _extend(control, take_turns(holder, other, turns))
            bench.say("with 1,000 idle connections to one of the two")
            with ExitStack() as stack:
                idle = []
                for transport, count in _IDLE.items():
                    before = holder.server.resident_megabytes()
                    idle.append(stack.enter_context(Connections(*wires(holder.server, transport, count))))
                    idle[-1].ask(_OPENINGS_A_SECOND, count)
                    kilobytes[transport] = (holder.server.resident_megabytes() - before) * 1e3 / count
                rest.append(_cpu_at_rest(holder.server, bench.seconds / 2))
                _extend(held, take_turns(holder, other, turns))
                # An answer on each says that none was closed meanwhile.
                for connections in idle:
                    connections.ask(_OPENINGS_A_SECOND, len(connections))
    return _findings(held, control, max(rest), kilobytes, cores)


def _extend(found: dict[str, list[Turn]], more: dict[str, list[Turn]]) -> None:
    for transport, turns in more.items():
        found[transport].extend(turns)


def _cpu_at_rest(server: ServerProcess, seconds: float) -> float:
    """Its part of a core."""
    time.sleep(0.2)
    began, cpu = time.perf_counter(), server.exact_cpu_seconds()
    time.sleep(seconds)
    return (server.exact_cpu_seconds() - cpu) / (time.perf_counter() - began)


def _findings(
    held: Mapping[str, Sequence[Turn]],
    control: Mapping[str, Sequence[Turn]],
    rest: float,
    kilobytes: Mapping[str, float],
    cores: Cores,
) -> Findings:
    targets = [
        Target("A server with 1,000 idle connections rests: below 1 % of a core", f"{rest:.2%}", rest < _CPU_LIMIT)
    ]
    for transport, turns in held.items():
        targets.append(_not_worse(f"server CPU of a {transport} request", [turn.cpu_ratio for turn in turns]))
        targets.append(_not_worse(f"p95 of {transport} requests", [turn.latency_ratio for turn in turns]))
    rows = [
        _row(f"{transport}, {name}", found[transport])
        for transport in held
        for name, found in (("1,000 idle connections to one", held), ("no idle ones, as a control", control))
    ]
    sizes = ", ".join(f"{size:.0f} kB for a {transport} connection" for transport, size in kilobytes.items())
    text = (
        "Two servers of a model that computes next to nothing run side by side"
        f"{', the load on other cores' if cores.apart else ''}. 500 gRPC and 500 REST connections to one of them are "
        "opened, asked once each and left alone; each answers once more at the end, so the server has closed none. "
        f"Meanwhile both servers are asked on {_WORKING} other connections, {_RATES['gRPC']} times a second by gRPC "
        f"and {_RATES['REST']} by REST, in turns of {_TURN_SECONDS} s; ratios are of one turn to the other's, and each "
        "of the two has the idle connections for half of the time. A difference is chance unless so many of the turns "
        f"are worse that the sign test gives it less than {1 / _ONE_IN:.0%}; the control, the same without any idle "
        f"connection, says what two equal servers differ by. Resident memory grew by {sizes} as they were opened and "
        f"used. The server closes a REST connection that is silent for {RestOptions().idle_timeout_seconds:.0f} s, and "
        "keeps silent gRPC connections."
    )
    header = (
        "",
        "server CPU a request, ms",
        "of the other server's",
        "turns with more",
        "p99 ms",
        "the other's p99 ms",
    )
    figures = {
        name: {
            transport: [(turn.cpu_ratio, turn.latency_ratio) for turn in turns] for transport, turns in found.items()
        }
        for name, found in (("held", held), ("control", control))
    }
    return Findings(text, [Table("Medians of the turns", header, rows)], targets, {**figures, "rest": rest})


def _not_worse(label: str, ratios: Sequence[float]) -> Target:
    kept = not is_worse(ratios) if len(ratios) >= _LEAST_TURNS else None
    reason = "" if kept is not None else f"; fewer than {_LEAST_TURNS} turns decide nothing"
    measured = f"{statistics.median(ratios):.3f} times, more in {_worse(ratios)} of {len(ratios)} turns{reason}"
    return Target(f"1,000 idle connections do not raise the {label} by more than chance", measured, kept)


def _row(name: str, turns: Sequence[Turn]) -> list[str]:
    ratios = [turn.cpu_ratio for turn in turns]
    with_idle, without = (
        percentile([latency for turn in turns for latency in turn.latencies[place]], 99) for place in (0, 1)
    )
    return [
        name,
        f"{statistics.median(turn.cpu[0] for turn in turns) * 1e3:.3f}",
        f"{statistics.median(ratios):.3f}",
        f"{_worse(ratios)} of {len(ratios)}",
        f"{with_idle:.2f}",
        f"{without:.2f}",
    ]


SECTION = Section("idle", "Idle connections", run, minutes=3)
