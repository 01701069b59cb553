"""Our client beside the least code that does the same: CPU time of a call, and calls a second of many threads.

About four minutes with 5 rounds of 8 seconds.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from benchmarks import client, load
from benchmarks.performance.section import Bench, Findings, Section, Table, Target
from benchmarks.processes import ServerProcess

_THREADS = 16
# Many short blocks in turns: two that are compared are close to each other in time.
_BLOCK_SECONDS = 0.5
_TEXT = f"""\
Our client beside the code that one would write without it: TensorFlow's own stub with `make_tensor_proto` and
`make_ndarray`, `requests` with a body that is ready, and, for the import, the five packages that the client needs
anyway. The server has no model to speak of and is a process of its own. The time is CPU time of the calling process,
gRPC's threads included, and the two take turns. Below 1, ours needs less. "Typed" and "content" are the forms in which
a server may answer with tensors: a repeated field, or bytes, by `--enable_serialization_as_tensor_content`. The
throughput is that of {_THREADS} threads that share one client, or one channel and stub, and ask as fast as they are
answered, on the processors that the server needs too.\
"""


@dataclass(frozen=True)
class Cost:
    """What a call or an import takes with our client and without, their quotient, and what that is to be at most."""

    name: str
    ours: float
    other: float
    ratio: float
    target: float | None

    def row(self) -> list[str]:
        limit = f"{self.target:.2f}" if self.target else "-"
        return [self.name, f"{self.ours:.2f}", f"{self.other:.2f}", f"{self.ratio:.2f}", limit]


def targets(costs: Sequence[Cost]) -> list[Target]:
    """Of those that have one."""
    return [
        Target(f"{cost.name}: at most {cost.target:.2f} times", f"{cost.ratio:.2f} times", cost.ratio <= cost.target)
        for cost in costs
        if cost.target
    ]


def rates(calls: tuple[client.Call, client.Call], rounds: int, seconds: float) -> list[tuple[float, float]]:
    """Calls a second of each, by `_THREADS` threads, in every round; they take turns in going first."""
    found = []
    for number in range(rounds):
        order = (0, 1) if number % 2 else (1, 0)
        round_rates = {place: _rate(calls[place], seconds) for place in order}
        found.append((round_rates[0], round_rates[1]))
    return found


def run(bench: Bench) -> Findings:
    seconds = min(_BLOCK_SECONDS, bench.seconds)
    with client.wire_servers(("typed", "content")) as servers, ExitStack() as stack:
        costs = []
        for pair in client.pairs(("picture", "batch", "rest"), servers, stack):
            bench.say(pair.name)
            costs.append(Cost(pair.name, *client.measured(pair, 2 * bench.rounds + 1, seconds), pair.target))
        bench.say(f"{_THREADS} threads")
        throughput = _throughput(servers["typed"], stack, bench)
    bench.say("import")
    imports = [
        Cost(name, ours, five, ours / five, client.IMPORT_TARGET)
        for name, ours, five in client.import_figures(bench.rounds)
    ]
    header = ["", "ours", "other", "ratio", "at most"]
    return Findings(
        _TEXT,
        [
            Table(
                f"CPU milliseconds of a call, and against what: medians of {2 * bench.rounds + 1} rounds",
                header,
                [cost.row() for cost in costs],
            ),
            Table(
                f"The import in a fresh process, against that of its five dependencies: medians of {bench.rounds}",
                header,
                [cost.row() for cost in imports],
            ),
            Table(
                f"Calls a second with one JPEG, {_THREADS} threads, gRPC: medians of {bench.rounds} rounds; above 1, "
                "ours is faster",
                ["ours", "the stub and make_ndarray", "ratio"],
                [[f"{throughput['ours']:.0f}", f"{throughput['stub']:.0f}", f"{throughput['ratio']:.2f}"]],
            ),
        ],
        targets([*costs, *imports]),
        figures={"costs": [vars(cost) for cost in [*costs, *imports]], "throughput": throughput},
    )


def _throughput(server: ServerProcess, stack: ExitStack, bench: Bench) -> dict[str, float]:
    pair = next(client.picture_pairs(server, stack))
    found = rates((pair.ours, pair.other), bench.rounds, bench.seconds / 2)
    ours, stub = zip(*found, strict=True)
    return {
        "ours": statistics.median(ours),
        "stub": statistics.median(stub),
        "ratio": statistics.median(mine / other for mine, other in found),
    }


def _rate(call: client.Call, seconds: float) -> float:
    with load.clients([_maker(call)] * _THREADS) as running:
        time.sleep(min(1.0, seconds / 4))
        before, started = running.count, time.perf_counter()
        time.sleep(seconds)
        rate = (running.count - before) / (time.perf_counter() - started)
        running.require_no_errors()
    return rate


def _maker(call: client.Call) -> Callable[[], load.Send]:
    def send() -> None:
        call()

    return lambda: send


SECTION = Section("client_cost", "Our client against TensorFlow's stubs", run, minutes=4)
