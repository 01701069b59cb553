"""Throughput and latency beside direct calls, TensorFlow Serving and the Python peers.

About 35 minutes with the defaults and four peers: each server takes three quarters of a minute of each round.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import load
from benchmarks.in_process import in_a_process
from benchmarks.performance import comparison_report, gpu
from benchmarks.performance.comparison_report import Block, Rounds
from benchmarks.performance.curves import Point, percentile
from benchmarks.performance.section import Bench, Findings, Section
from benchmarks.performance.subjects import (
    Running,
    Subject,
    embedded,
    embedded_rest,
    peers_of,
    tensorflow_serving,
)

# Clients, and the part of Bench.seconds that each gets: a p99 wants requests, and one client makes few of them.
CONCURRENCIES = {1: 0.25, 4: 0.25, 16: 0.5, 32: 0.5}
CAPACITY_CLIENTS = 16
# So high that queues form, so low that every server keeps up.
LOAD_SHARE = 0.7
_OPEN_LOOP_CLIENTS = 64
_PICTURES = 32


def run(bench: Bench) -> Findings:
    """A first pass for each one's capacity, in which peers show whether batching pays; then the rounds.

    In those it is one server at a time, every second round backwards.
    """
    pictures = bench.pictures(_PICTURES)
    folder = bench.written(pictures)
    version = bench.model / "1"
    bench.say("direct calls: which batch size and threads")
    direct = in_a_process(version, bench.seconds / 4, pictures=folder)
    rounds = Rounds(max(direct, key=direct.__getitem__))
    ways = [[embedded(bench)], [embedded_rest(bench)], [tensorflow_serving(bench)], *peers_of(bench)]
    capacities = _capacities(bench, [subject for way in ways for subject in way], pictures, rounds.absent)
    if not capacities:
        raise RuntimeError(f"no server could be measured: {rounds.absent}")
    best = [max(way, key=lambda one: capacities.get(one.name, 0.0)) for way in ways]
    there = [subject for subject in best if subject.name in capacities]
    rounds.peers = [subject.name for subject in best if subject.is_peer]
    slowest = [capacities[subject.name] for subject in there if subject.is_peer] or list(capacities.values())
    rounds.rate = LOAD_SHARE * min(slowest)
    for number in range(bench.rounds):
        _round(bench, number, rounds, there, pictures, folder)
    return comparison_report.findings(rounds, bench)


SECTION = Section("comparison", "Beside direct calls, TensorFlow Serving and Python servers", run, minutes=37)


def _capacities(
    bench: Bench, subjects: Sequence[Subject], pictures: Sequence[bytes], absent: dict[str, str]
) -> Mapping[str, float]:
    """Good answers a second of each, roughly; those that do not run here get their reason in `absent`."""
    found = {}
    for subject in subjects:
        bench.say(f"{subject.name}: capacity")
        try:
            with subject.start() as running:
                found[subject.name] = closed_loop(running, pictures, CAPACITY_CLIENTS, bench.seconds / 4).throughput
        # Whatever another server fails with, the rest is to be measured.
        except Exception as error:
            absent[subject.name] = str(error) or type(error).__name__
            bench.say(f"{subject.name}: {absent[subject.name]}")
    return found


def _round(
    bench: Bench,
    number: int,
    rounds: Rounds,
    subjects: Sequence[Subject],
    pictures: Sequence[bytes],
    folder: Path,
) -> None:
    forwards: list[Subject | None] = [None, *subjects]
    for subject in forwards if number % 2 == 0 else reversed(forwards):
        where = f"round {number + 1} of {bench.rounds}"
        if subject is None:
            bench.say(f"{where}: direct calls")
            direct = in_a_process(bench.model / "1", bench.seconds / 2, rounds.combination, pictures=folder)
            rounds.limits[number] = direct[rounds.combination]
            continue
        bench.say(f"{where}: {subject.name}")
        try:
            block = _block(bench, subject, pictures, load.poisson_arrivals(rounds.rate, 2 * bench.seconds, seed=number))
        except Exception as error:
            bench.say(f"{subject.name} has no figures of {where}: {error}")
            continue
        rounds.blocks.setdefault(subject.name, {})[number] = block


def _block(bench: Bench, subject: Subject, pictures: Sequence[bytes], due: Sequence[float]) -> Block:
    with subject.start() as running:
        with gpu.watching() as samples:
            points = [
                closed_loop(running, pictures, clients, bench.seconds * share)
                for clients, share in CONCURRENCIES.items()
            ]
        opened = load.open_loop(running.makers(pictures, _OPEN_LOOP_CLIENTS), due)
        return Block(
            points,
            percentile(opened.seconds, 50),
            percentile(opened.seconds, 99),
            len(opened.errors),
            running.start_seconds,
            running.megabytes(),
            samples.utilisation(),
        )


def closed_loop(running: Running, pictures: Sequence[bytes], clients: int, seconds: float) -> Point:
    """So many clients for so long, after a moment in which they are not counted. Raises ValueError without answers."""
    with load.clients(running.makers(pictures, clients)) as loop:
        time.sleep(min(1.0, seconds / 2))
        count, failed, started = loop.count, len(loop.errors), time.perf_counter()
        time.sleep(seconds)
        answered, failures = loop.seconds[count:], len(loop.errors) - failed
        elapsed = time.perf_counter() - started
    if not answered:
        raise ValueError(f"no answer to {clients} clients in {seconds:g} s; {loop.errors[:1]}")
    return Point(clients, len(answered) / elapsed, percentile(answered, 50), percentile(answered, 99), failures)
