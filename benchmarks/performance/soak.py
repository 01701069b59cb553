"""Whether the embedded server stays as it is under hours of mixed load: as long as --soak-minutes says."""

from __future__ import annotations

import http.client
import itertools
import json
import shutil
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc

from benchmarks import load, models
from benchmarks.performance.curves import percentile
from benchmarks.performance.section import Bench, Findings, NotHere, Section, Table, Target
from benchmarks.performance.subjects import CLIENT_OF
from benchmarks.processes import ServerProcess, embedded_server

_CLIENTS = 8
_CORRUPT_EVERY = 100
_LARGE = (300_000, 1_000_000)
_SAMPLE_SECONDS = 10.0
_WINDOW_SECONDS = 300.0
# Time to load a version beside full load.
_SWAP_SECONDS = 60.0
_LOAD_SECONDS = 300.0
# Below that the caches and thread pools of a server that has just started are what grows.
_LEAST_MINUTES = 10.0
_MEGABYTES_IN_TEN_MINUTES = 1.0
_PART_OF_MEMORY = 0.01
# Of so many samples Theil-Sen takes all pairs.
_MOST_SAMPLES = 500
# Connections that come and go, and a file that is just being read.
_DRIFT = 1


@dataclass(frozen=True)
class Sample:
    """The server at one moment, seconds from the start; megabytes; how many requests were answered and failed."""

    at: float
    resident: float
    anonymous: float
    threads: int
    files: int
    answered: int
    failed: int


def theil_sen(times: Sequence[float], values: Sequence[float]) -> float:
    """Slope of `values` over `times`: the median of all pairs' slopes, which peaks do not sway (Sen, 1968).

    0.0 of fewer than two points.
    """
    stride = -(-len(times) // _MOST_SAMPLES) or 1
    points = list(zip(times[::stride], values[::stride], strict=True))
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in itertools.combinations(points, 2) if b[0] != a[0]]
    return statistics.median(slopes) if slopes else 0.0


def drift(values: Sequence[float]) -> float:
    """How far the median of the last third lies above that of the first."""
    third = max(1, len(values) // 3)
    return statistics.median(values[-third:]) - statistics.median(values[:third])


def later(samples: Sequence[Sample]) -> list[Sample]:
    """Those of the last two thirds of the time: a server that has just started has caches to fill."""
    return [sample for sample in samples if sample.at >= samples[0].at + (samples[-1].at - samples[0].at) / 3]


def targets(samples: Sequence[Sample], errors: Sequence[str]) -> list[Target]:
    """Memory is judged over the last two thirds of the time, threads and files from the first swap on.

    Neither is where the whole time was too short.
    """
    judged = later(samples)
    swapped = [sample for sample in samples if sample.at >= _SWAP_SECONDS] or samples
    span = judged[-1].at - judged[0].at
    slope = theil_sen([sample.at for sample in judged], [sample.resident for sample in judged])
    in_ten_minutes, rise = slope * 600, slope * span / statistics.median(sample.resident for sample in judged)
    is_long = samples[-1].at - samples[0].at >= _LEAST_MINUTES * 60 * 0.99
    reason = "" if is_long else f"; under {_LEAST_MINUTES:.0f} minutes that says nothing"
    is_flat = in_ten_minutes < _MEGABYTES_IN_TEN_MINUTES or rise < _PART_OF_MEMORY
    found = [
        Target(
            f"memory is flat: less than {_MEGABYTES_IN_TEN_MINUTES:.0f} MB in ten minutes, or than "
            f"{_PART_OF_MEMORY:.0%} over the last two thirds of the time",
            f"{in_ten_minutes:+.2f} MB in ten minutes, {rise:+.2%}{reason}",
            is_flat if is_long else None,
        )
    ]
    for name, values in (
        ("threads", [sample.threads for sample in swapped]),
        ("open files", [sample.files for sample in swapped]),
    ):
        change = drift(values)
        found.append(
            Target(
                f"as many {name} in the last third as in the first, or one more",
                f"{change:+.0f}{reason}",
                change <= _DRIFT if is_long else None,
            )
        )
    said = f"{len(errors)}" + (f", such as: {errors[0]}" if errors else "")
    return [*found, Target("no good request fails, and every corrupt picture is refused as such", said, not errors)]


def windows(samples: Sequence[Sample], latencies: Sequence[float], seconds: float) -> list[list[str]]:
    """A row for each stretch of so many seconds; the last may be shorter."""
    rows = []
    first = samples[0]
    while first is not samples[-1]:
        inside = [sample for sample in samples if first.at < sample.at <= first.at + seconds * 1.001]
        # After a hold-up longer than a window.
        inside = inside or [next(sample for sample in samples if sample.at > first.at)]
        last = inside[-1]
        answered = latencies[first.answered : last.answered]
        rows.append(
            [
                f"{(first.at - samples[0].at) / 60:.1f} to {(last.at - samples[0].at) / 60:.1f}",
                f"{len(answered) / (last.at - first.at):.0f}",
                f"{percentile(answered, 99):.0f}" if answered else "-",
                str(last.failed - first.failed),
                *(
                    f"{statistics.median(values):.0f}"
                    for values in zip(*((s.resident, s.anonymous, s.threads, s.files) for s in inside), strict=True)
                ),
            ]
        )
        first = last
    return rows


def run(bench: Bench) -> Findings:
    if bench.soak_minutes <= 0:
        raise NotHere("not asked for: --soak-minutes 30")
    base = bench.work / "soak"
    shutil.rmtree(base, ignore_errors=True)
    _publish(bench.model / "1", base, 1)
    refused: list[None] = []
    with embedded_server(base) as server:
        with load.clients(_makers(bench, server, refused)) as running, load.clients([_asker(server)]) as asking:
            samples, swaps = _watch(bench, server, running, base)
        _wait_until_served(server, swaps + 1)
    errors = running.errors + asking.errors
    window = min(_WINDOW_SECONDS, bench.soak_minutes * 60 / 6)
    return Findings(
        f"{bench.soak_minutes:g} minutes of closed loops by {_CLIENTS} clients, half by gRPC and half by REST, with "
        f"pictures of web-photo size and of up to 1 MB; one picture in {_CORRUPT_EVERY} was corrupt, and counts as "
        "failed unless it was refused as an invalid argument. Status and metadata were asked once a second, and "
        f"{swaps} times, all in the first third, a new version was put in place of the served one. The "
        f"server's memory, threads and open files were read every {_sample_seconds(bench):g} s. "
        f"{running.count:,} requests were answered, of which "
        f"{len(refused):,} were refusals. Slopes are Theil-Sen's, over the last two thirds of the time.",
        [
            Table(
                "By stretches of time; memory, threads and files are medians",
                ("minutes", "requests/s", "p99 ms", "failed", "resident MB", "anonymous MB", "threads", "open files"),
                windows(samples, running.seconds, window),
            )
        ],
        targets(samples, errors),
        {"samples": [vars(sample) for sample in samples], "refused": len(refused), "swaps": swaps},
    )


def _watch(bench: Bench, server: ServerProcess, running: load.Load, base: Path) -> tuple[list[Sample], int]:
    """Samples at even intervals, and how many versions were published meanwhile."""
    total, every = bench.soak_minutes * 60, _sample_seconds(bench)
    began = time.perf_counter()
    samples = [_sample(server, running, 0.0)]
    swaps = 0
    while samples[-1].at < total:
        time.sleep(max(0.0, len(samples) * every - (time.perf_counter() - began)))
        samples.append(_sample(server, running, time.perf_counter() - began))
        # Memory is judged later: each of the first dozen versions leaves gaps in what the C library holds.
        if (swaps + 1) * _SWAP_SECONDS <= samples[-1].at <= total / 3:
            swaps += 1
            _publish(base / str(swaps), base, swaps + 1)
            shutil.rmtree(base / str(swaps - 1), ignore_errors=True)
        if samples[-1].at // 60 > samples[-2].at // 60:
            bench.say(f"{samples[-1].at / 60:.1f} minutes, {samples[-1].resident:.0f} MB, {running.count} requests")
    return samples, swaps


def _sample_seconds(bench: Bench) -> float:
    return min(_SAMPLE_SECONDS, bench.soak_minutes)


def _sample(server: ServerProcess, running: load.Load, at: float) -> Sample:
    return Sample(
        at,
        server.resident_megabytes(),
        server.anonymous_megabytes(),
        server.threads(),
        server.open_files(),
        running.count,
        len(running.errors),
    )


def _publish(version: Path, base: Path, number: int) -> None:
    staged = base.with_name(f"{base.name}.staged")
    shutil.rmtree(staged, ignore_errors=True)
    shutil.copytree(version, staged)
    base.mkdir(parents=True, exist_ok=True)
    staged.rename(base / str(number))


def _makers(bench: Bench, server: ServerProcess, refused: list[None]) -> list[Callable[[], load.Send]]:
    photos = [*bench.pictures(20), *(models.photo_of_bytes(size) for size in _LARGE)]
    corrupt = photos[0][: len(photos[0]) // 3]
    ways = [(client(server, photos), client(server, [corrupt])) for client in CLIENT_OF.values()]
    return [_mixed(*ways[at % 2], at * _CORRUPT_EVERY // _CLIENTS, refused) for at in range(_CLIENTS)]


def _mixed(
    good: Callable[[], load.Send], bad: Callable[[], load.Send], begin: int, refused: list[None]
) -> Callable[[], load.Send]:
    def make() -> load.Send:
        send_good, send_bad = good(), bad()
        turn = itertools.count(begin)

        def send() -> None:
            if (next(turn) + 1) % _CORRUPT_EVERY:
                send_good()
                return
            try:
                send_bad()
            except (grpc.RpcError, load.HttpError) as error:
                if not is_refusal(error):
                    raise
                refused.append(None)
                return
            raise RuntimeError("a corrupt picture was answered like a good one")

        return send

    return make


def is_refusal(error: Exception) -> bool:
    """Whether the server called the picture invalid, by either transport."""
    if isinstance(error, load.HttpError):
        return error.status == 400
    return isinstance(error, grpc.Call) and error.code() is grpc.StatusCode.INVALID_ARGUMENT


def _asker(server: ServerProcess) -> Callable[[], load.Send]:
    def send() -> None:
        time.sleep(1.0)
        for path in ("", "/metadata"):
            _get(server, path)

    return lambda: send


def _wait_until_served(server: ServerProcess, version: int) -> None:
    deadline = time.monotonic() + _LOAD_SECONDS
    while time.monotonic() < deadline:
        states = json.loads(_get(server, ""))["model_version_status"]
        if any(entry["version"] == str(version) and entry["state"] == "AVAILABLE" for entry in states):
            return
        time.sleep(0.2)
    raise RuntimeError(f"version {version} was put in place and not served within {_LOAD_SECONDS:.0f} s: {states}")


def _get(server: ServerProcess, path: str) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=60)
    try:
        connection.request("GET", f"/v1/models/{models.NAME}{path}")
        answer = connection.getresponse()
        content = answer.read()
    finally:
        connection.close()
    if answer.status != 200:
        raise load.HttpError(answer.status, content)
    return content


SECTION = Section("soak", "Soak", run, minutes=0)
