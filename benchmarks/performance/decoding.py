"""Camera photos: decoded at a fraction of their size, and made smaller by the client before they are sent.

About three minutes with 5 rounds; the length of a round is that of all photos, once.
"""

from __future__ import annotations

import io
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import tensorflow as tf
from PIL import Image

from benchmarks import models
from benchmarks.downscale import SIDES
from benchmarks.performance.section import Bench, Findings, Section, Table
from benchmarks.processes import ServerProcess, embedded_server
from vitrine_client import GrpcClient
from vitrine_client.images import ImageOptions, encode_image
from vitrine_export.preprocessing import Preprocessing

PLAIN, SCALED = (
    f"{decode}|resize({models.PICTURE_SIDE},antialias=True)" for decode in ("decode", "decode(scaled=True)")
)
_Key = TypeVar("_Key")
_Function = Callable[[tf.Tensor], tf.Tensor]
_WEB_PHOTOS = 20
# Of the photos made where there is no data: 3, 8 and 12 megapixels.
_MADE_SIZES = ((2048, 1536), (3264, 2448), (4032, 3024))
_MADE_OF_EACH = 2
_TEXT = f"""\
The pixels of a camera photo that a network never looks at can be left out in two places. *In the graph*:
`decode(scaled=True)` lets libjpeg decode at a half, a quarter or an eighth of the size, see [decoding](decoding.md). It
is measured here with the `resize({models.PICTURE_SIDE},antialias=True)` that follows, against plain `decode`, one photo
after the other in this process. *In the client*: `max_side` makes a photo smaller before it is sent, see
[downscaling](downscaling.md), which also tells how often that changes an answer. Here our gRPC client asks an embedded
server that decodes plainly and has nothing else to do, on the same machine: both share its cores, and the bytes cross
no network. Over one, what those not sent would have taken comes on top. Photos that their EXIF data turns are turned
by the client in every row.\
"""


@dataclass(frozen=True)
class Cost:
    """Milliseconds a photo: on the clock, of this process's CPU, and of the server's where there is one."""

    wall: float
    cpu: float
    server_cpu: float = 0.0


def by_size(photos: Iterable[bytes]) -> dict[str, list[bytes]]:
    """The photos by their megapixels, whole ones, smallest first."""
    groups: dict[int, list[bytes]] = {}
    for photo in photos:
        width, height = Image.open(io.BytesIO(photo)).size
        groups.setdefault(round(width * height / 1e6), []).append(photo)
    return {f"{size} megapixels": groups[size] for size in sorted(groups)}


def quotient(costs: Sequence[Cost], others: Sequence[Cost], of: Callable[[Cost], float]) -> float:
    """The median of the rounds' quotients of one figure."""
    return statistics.median(of(cost) / of(other) for cost, other in zip(costs, others, strict=True))


def median(costs: Sequence[Cost]) -> Cost:
    """Figure by figure."""
    return Cost(
        statistics.median(cost.wall for cost in costs),
        statistics.median(cost.cpu for cost in costs),
        statistics.median(cost.server_cpu for cost in costs),
    )


def in_turns(runs: Mapping[_Key, Callable[[], Cost]], rounds: int) -> dict[_Key, list[Cost]]:
    """What each run costs, `rounds` times, every other round backwards; a first one fills caches and does not count."""
    costs: dict[_Key, list[Cost]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    for number in range(rounds):
        for name in list(runs)[:: -1 if number % 2 else 1]:
            costs[name].append(runs[name]())
    return costs


def run(bench: Bench) -> Findings:
    found = sorted((bench.data / "large_photos").glob("*.jpg")) if bench.data else []
    photos = [path.read_bytes() for path in found] or _made_photos()
    kind = "camera photos" if found else "made pictures of camera size"
    functions = {spec: tf.function(Preprocessing(spec).geometry, autograph=False) for spec in (PLAIN, SCALED)}
    decoding = {
        name: {"photos": len(group), **_decoding(name, group, functions, bench)}
        for name, group in {**by_size(photos), "web photos": bench.pictures(_WEB_PHOTOS)}.items()
    }
    with embedded_server(bench.model) as server:
        sending = _sending(server, photos, bench)
    return Findings(
        _TEXT,
        [
            Table(
                f"Decoding and resizing {kind}: milliseconds each, medians of {bench.rounds} rounds; above 1, scaled "
                "is faster",
                ["pictures", "how many", "plain, ms", "scaled, ms", "times faster", "times less CPU"],
                [
                    [name, f"{found['photos']}", *(f"{found[key]:.1f}" for key in ("plain ms", "scaled ms"))]
                    + [f"{found[key]:.2f}" for key in ("times faster", "times less CPU")]
                    for name, found in decoding.items()
                ],
            ),
            Table(
                f"One request a picture, {len(photos)} {kind}, gRPC: means of the pictures, medians of {bench.rounds} "
                "rounds; the last three columns are shares of what the picture as it is takes",
                [
                    "`max_side`",
                    "kB",
                    "client CPU, ms",
                    "server CPU, ms",
                    "whole call, ms",
                    "bytes",
                    "CPU",
                    "whole call",
                ],
                [
                    [f"{side or 'none'}", f"{found['kB']:.0f}"]
                    + [f"{found[key]:.1f}" for key in ("client CPU ms", "server CPU ms", "call ms")]
                    + [f"{found[key]:.2f}" for key in ("bytes", "CPU", "call")]
                    for side, found in sending.items()
                ],
            ),
        ],
        figures={"decoding": decoding, "sending": {str(side): found for side, found in sending.items()}},
    )


def _made_photos() -> list[bytes]:
    return [photo for size in _MADE_SIZES for photo in models.photos(_MADE_OF_EACH, size=size)]


def _decoding(name: str, photos: Sequence[bytes], functions: Mapping[str, _Function], bench: Bench) -> dict[str, float]:
    """Plain against scaled; `functions` are both by their preprocessing."""
    bench.say(f"decoding: {name}")
    contents = [tf.constant(photo) for photo in photos]

    def each(function: _Function) -> Callable[[], Cost]:
        def run() -> Cost:
            started, cpu = time.perf_counter(), time.process_time()
            for content in contents:
                function(content).numpy()
            return _cost(started, cpu, len(contents))

        return run

    costs = in_turns({spec: each(function) for spec, function in functions.items()}, bench.rounds)
    return {
        "plain ms": median(costs[PLAIN]).wall,
        "scaled ms": median(costs[SCALED]).wall,
        "times faster": quotient(costs[PLAIN], costs[SCALED], lambda cost: cost.wall),
        "times less CPU": quotient(costs[PLAIN], costs[SCALED], lambda cost: cost.cpu),
    }


def _sending(server: ServerProcess, photos: Sequence[bytes], bench: Bench) -> dict[int | None, dict[str, float]]:
    bench.say("sending photos as they are and scaled down")
    with GrpcClient(f"127.0.0.1:{server.grpc_port}", model=models.NAME, timeout=60) as client:

        def each(side: int | None) -> Callable[[], Cost]:
            def run() -> Cost:
                before = server.cpu_seconds()
                started, cpu = time.perf_counter(), time.process_time()
                for photo in photos:
                    client.classify([photo], max_side=side)
                cost = _cost(started, cpu, len(photos))
                return replace(cost, server_cpu=(server.cpu_seconds() - before) / len(photos) * 1e3)

            return run

        costs = in_turns({side: each(side) for side in SIDES}, bench.rounds)
    options = {side: ImageOptions(max_side=side) for side in SIDES}
    bytes_sent = {side: sum(len(encode_image(photo, 0, options[side])) for photo in photos) for side in SIDES}
    return {
        side: {
            "kB": bytes_sent[side] / len(photos) / 1e3,
            "client CPU ms": median(costs[side]).cpu,
            "server CPU ms": median(costs[side]).server_cpu,
            "call ms": median(costs[side]).wall,
            "bytes": bytes_sent[side] / bytes_sent[None],
            "CPU": quotient(costs[side], costs[None], lambda cost: cost.cpu + cost.server_cpu),
            "call": quotient(costs[side], costs[None], lambda cost: cost.wall),
        }
        for side in SIDES
    }


def _cost(started: float, cpu: float, photos: int) -> Cost:
    """A photo's share of the time since `started` and of this process's CPU time since `cpu`."""
    return Cost((time.perf_counter() - started) / photos * 1e3, (time.process_time() - cpu) / photos * 1e3)


SECTION = Section("decoding", "Camera photos: scaled decoding and smaller requests", run, minutes=3)
