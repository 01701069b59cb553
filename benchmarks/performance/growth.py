"""What the embedded server's costs do as clients, models and pictures grow: about eleven minutes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from benchmarks import load, models
from benchmarks.performance.connections import Connections, need_connections, trivial_model, wires
from benchmarks.performance.curves import percentile
from benchmarks.performance.judging import FLAT, LINEAR, NOISE, flat, linear, medians
from benchmarks.performance.section import Bench, Findings, Section, Table, Target
from benchmarks.performance.subjects import CLIENT_OF
from benchmarks.processes import ServerProcess, embedded_server, embedded_server_of
from vitrine_serving.embedded.inference.saved_model import SessionOptions, load_saved_model

TRANSPORTS = ("gRPC", "REST")
_CONCURRENT = (1, 2, 4, 8, 16, 32, 64)
_MODELS = (1, 5, 10, 20)
_PICTURE_BYTES = (10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000, 10_000_000)
_CONNECTED = (1, 10, 100, 1000)
_REQUESTS_A_SECOND = 500
# A model's first requests, of which oneDNN makes its kernels.
_WARM_UP_TURNS = 3


@dataclass(frozen=True)
class Part:
    """What was measured over one kind of size."""

    table: Table
    targets: Sequence[Target]
    figures: dict[str, Any]


def concurrency(bench: Bench, server: ServerProcess, transport: str, counts: Sequence[int] = _CONCURRENT) -> Part:
    """Closed loops of `counts` clients."""
    sends = {count: [CLIENT_OF[transport](server, bench.pictures(16))] * count for count in counts}
    rates, cpu, tails = (_matrix(bench.rounds, counts) for _ in range(3))
    load.closed_loop(sends[max(counts)], server.exact_cpu_seconds, 0.5)
    for number, count in _turns(bench.rounds, counts):
        block = load.closed_loop(sends[count], server.exact_cpu_seconds, bench.seconds / 3)
        rates[number][counts.index(count)], cpu[number][counts.index(count)] = block.rate, block.cpu_seconds
        tails[number][counts.index(count)] = percentile(block.latencies, 99)
    rate, used, p99 = medians(rates), medians(cpu), medians(tails)
    rows = [
        [str(count), f"{rate[at]:.0f}", f"{p99[at]:.0f}", f"{used[at] * 1e3:.2f}"] for at, count in enumerate(counts)
    ]
    return Part(
        Table(
            f"{transport}: clients that each ask as soon as they are answered",
            ("clients", "pictures/s", "p99 ms", "server CPU ms a request"),
            rows,
        ),
        [
            flat(f"{transport}, 1 to {counts[-1]} at once: server CPU a request", cpu),
            linear(f"{transport}, 1 to {counts[-1]} at once: p99", counts, p99),
        ],
        {"clients": list(counts), "rate": rates, "cpu_seconds": cpu, "p99_ms": tails},
    )


def many_models(bench: Bench, counts: Sequence[int] = _MODELS) -> Part:
    """One server of each number of models, all MobileNetV2, asked in turn by one client: no two share a batch."""
    rounds = min(bench.rounds, 2)
    start, memory, rest, cpu = (_matrix(rounds, counts) for _ in range(4))
    for number, count in _turns(rounds, counts):
        place = counts.index(count)
        config = bench.work / f"{count}_models.config"
        names = [models.NAME, *(f"{models.NAME}_{other}" for other in range(2, count + 1))]
        models.write_config(config, names, bench.model)
        payloads = [_request_to(name, photo) for name, photo in zip(names, bench.pictures(count) * count, strict=False)]
        began = time.perf_counter()
        with embedded_server_of(config) as server:
            start[number][place] = time.perf_counter() - began
            client = load.grpc_client(server.grpc_port, payloads)
            send = client()
            for _ in range(_WARM_UP_TURNS * count):
                send()
            memory[number][place] = server.resident_megabytes()
            rest[number][place] = _cpu_share(server, bench.seconds / 2)
            block = load.closed_loop([client], server.exact_cpu_seconds, bench.seconds / 2)
            cpu[number][place] = block.cpu_seconds - rest[number][place] / block.rate
        bench.say(f"{count} models: up in {start[number][place]:.1f} s")
    columns = [medians(start), medians(memory), medians(rest), medians(cpu)]
    rows = [
        [str(count), f"{seconds:.1f}", f"{megabytes:.0f}", f"{share:.1%}", f"{used * 1e3:.2f}"]
        for count, seconds, megabytes, share, used in zip(counts, *columns, strict=True)
    ]
    return Part(
        Table(
            f"Models in one server, {rounds} starts of each; memory after all were asked; what a request takes beyond "
            "what the server takes at rest",
            ("models", "start s", "memory MB", "CPU at rest", "server CPU ms a request"),
            rows,
        ),
        [
            linear(f"1 to {counts[-1]} models: {what}", counts, values)
            for what, values in zip(
                ("time to start", "memory", "CPU at rest", "server CPU a request"), columns, strict=True
            )
        ],
        {
            "models": list(counts),
            "start_seconds": start,
            "memory_mb": memory,
            "cpu_at_rest": rest,
            "cpu_seconds": cpu,
        },
    )


def picture_sizes(bench: Bench, server: ServerProcess, sizes: Sequence[int] = _PICTURE_BYTES) -> Part:
    """One client, against the signature called here with the same picture."""
    photos = [models.photo_of_bytes(size) for size in sizes]
    exact = [len(photo) for photo in photos]
    model = load_saved_model(str(bench.model / "1"), SessionOptions(1, bench.cores))
    figures: dict[str, list[list[float]]] = {}
    for number, size in _turns(bench.rounds, sizes):
        place, photo = sizes.index(size), photos[sizes.index(size)]
        inputs = {"image_bytes": np.array([photo], np.object_)}
        calls: dict[str, tuple[Callable[[], object], Callable[[], float]]] = {
            "signature": (partial(model.run, "", inputs), time.process_time),
            **{name: (CLIENT_OF[name](server, [photo])(), server.exact_cpu_seconds) for name in TRANSPORTS},
        }
        for name, (call, cpu_clock) in calls.items():
            call()
            elapsed, used = _timed(call, cpu_clock, bench.seconds / 10)
            for what, value in (("seconds", elapsed), ("cpu", used)):
                figures.setdefault(f"{name} {what}", _matrix(bench.rounds, sizes))[number][place] = value
    model.close()
    found = {name: medians(rounds) for name, rounds in figures.items()}
    ways = ("signature", *TRANSPORTS)
    rows = [
        [f"{size:,}", *(f"{found[f'{way} {what}'][at] * 1e3:.2f}" for what in ("seconds", "cpu") for way in ways)]
        for at, size in enumerate(exact)
    ]
    return Part(
        Table(
            "One picture at a time, milliseconds a picture: the signature called in process, and the server's answer; "
            "what the server has more than the signature is its own share",
            ("bytes", *(f"{way}, {what}" for what in ("time", "CPU") for way in ways)),
            rows,
        ),
        [
            linear(f"{way}, 10 kB to 10 MB: {label}", exact, found[f"{way} {what}"])
            for way in TRANSPORTS
            for what, label in (("seconds", "time"), ("cpu", "server CPU"))
        ],
        {"bytes": exact, **figures},
    )


def many_clients(bench: Bench, server: ServerProcess, transport: str, counts: Sequence[int] = _CONNECTED) -> Part:
    """As many requests a second by any number of connections, to a model that does next to nothing."""
    rounds = min(bench.rounds, 3)
    cpu = _matrix(rounds, counts)
    latencies: dict[int, list[float]] = {count: [] for count in counts}
    requests = max(max(counts), round(_REQUESTS_A_SECOND * bench.seconds / 2))
    for number, count in _turns(rounds, counts):
        with Connections(*wires(server, transport, count)) as connections:
            connections.ask(2 * _REQUESTS_A_SECOND, max(count, _REQUESTS_A_SECOND // 2))
            before = server.exact_cpu_seconds()
            latencies[count] += connections.ask(_REQUESTS_A_SECOND, requests)
            cpu[number][counts.index(count)] = (server.exact_cpu_seconds() - before) / requests
    used = medians(cpu)
    percentiles = {count: [percentile(latencies[count], which) for which in (50, 99)] for count in counts}
    rows = [
        [str(count), *(f"{value:.2f}" for value in percentiles[count]), f"{used[at] * 1e6:.0f}"]
        for at, count in enumerate(counts)
    ]
    return Part(
        Table(
            f"{transport}: {_REQUESTS_A_SECOND} requests a second in all, by the connections in turn",
            ("connections", "median ms", "p99 ms", "server CPU µs a request"),
            rows,
        ),
        [linear(f"{transport}, 1 to {counts[-1]} clients that ask slowly: server CPU a request", counts, used)],
        {"connections": list(counts), "cpu_seconds": cpu, "median_and_p99_ms": percentiles},
    )


def run(bench: Bench) -> Findings:
    need_connections()
    parts: dict[str, Part] = {}
    with embedded_server(bench.model) as server:
        for transport in TRANSPORTS:
            bench.say(f"{transport}: 1 to {_CONCURRENT[-1]} requests at once")
            parts[f"concurrency, {transport}"] = concurrency(bench, server, transport)
        bench.say("pictures of 10 kB to 10 MB")
        parts["picture bytes"] = picture_sizes(bench, server)
    with embedded_server(trivial_model(bench)) as server:
        for transport in TRANSPORTS:
            bench.say(f"{transport}: 1 to {_CONNECTED[-1]} clients that ask slowly")
            parts[f"connections, {transport}"] = many_clients(bench, server, transport)
    parts["models"] = many_models(bench)
    return Findings(
        _TEXT,
        [part.table for part in parts.values()],
        [target for part in parts.values() for target in part.targets],
        {name: part.figures for name, part in parts.items()},
    )


_TEXT = f"""\
One thing grew at a time: requests at once, models, bytes of a picture, connections. The sizes were measured in turn, \
in every other round backwards, and figures are medians of the rounds. What a request costs the server must not \
depend on how many others there are at once: the largest of the sizes' ratios to the first may be {FLAT}, which \
leaves room for noise. All else is held to linear growth: the exponent is the least-squares slope of the logarithm of \
what was added to the first size's cost over the logarithm of what was added to the size, where that is more than \
{NOISE:.0%} of the first cost; 1 is linear, and up to {LINEAR} is allowed. The pictures are made, all with the same \
number of bytes a pixel. The many clients are plain sockets held by one thread, for gRPC with hand-made HTTP/2 \
frames, since a thousand gRPC channels would need the cores that the server runs on; their model computes next to \
nothing, so that what is seen is the server's own. What a server of many models takes at rest are the threads of \
their batches, num_batch_threads of each model: TensorFlow has them look for work about a thousand times a second.\
"""


def _matrix(rounds: int, sizes: Sequence[int]) -> list[list[float]]:
    return [[math.nan] * len(sizes) for _ in range(rounds)]


def _turns(rounds: int, sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Every size in every round; every other round backwards, so that what drifts falls on all."""
    for number in range(rounds):
        yield from ((number, size) for size in (reversed(sizes) if number % 2 else sizes))


def _cpu_share(server: ServerProcess, seconds: float) -> float:
    """Of one core, over a time in which nobody asks."""
    began, cpu = time.perf_counter(), server.exact_cpu_seconds()
    time.sleep(seconds)
    return (server.exact_cpu_seconds() - cpu) / (time.perf_counter() - began)


def _timed(call: Callable[[], object], cpu_clock: Callable[[], float], seconds: float) -> tuple[float, float]:
    """Seconds of a call and the CPU seconds it took, of at least two calls."""
    count, cpu, began = 0, cpu_clock(), time.perf_counter()
    while count < 2 or time.perf_counter() - began < seconds:
        call()
        count += 1
    return (time.perf_counter() - began) / count, (cpu_clock() - cpu) / count


def _request_to(name: str, photo: bytes) -> bytes:
    request = models.photo_request(photo)
    request.model_spec.name = name
    serialized: bytes = request.SerializeToString()
    return serialized


SECTION = Section("growth", "Growth", run, minutes=11)
