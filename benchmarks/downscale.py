"""What `max_side` saves and what it costs: bytes, time, and whether the model still says the same.

Sends real photos to the embedded server with an ImageNet classifier, as they are and scaled down.

examples:
  python -m benchmarks.downscale --data DATA
  python -m benchmarks.downscale --data DATA --flowers 50 --write docs/downscaling.md
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL
import tensorflow as tf

from benchmarks import models, page
from benchmarks.models import PICTURE_SIDE, TOP
from benchmarks.processes import embedded_server
from vitrine_client import GrpcClient
from vitrine_client.images import ImageOptions, encode_image
from vitrine_serving.embedded.cpus import available_cpus

SIDES = (None, 1024, 640, 512, 384, 256)
PREPROCESSING = f"decode|resize({PICTURE_SIDE},antialias=True)|value_range(0,1)"


@dataclass(frozen=True)
class Row:
    """The means of one set of photos at one `max_side`; agreement is with the photos as they are."""

    max_side: int | None
    kilobytes: float
    prepare_ms: float
    call_ms: float
    top_1: float
    top_5: float


def measure(client: GrpcClient, photos: Sequence[Path], rounds: int) -> list[Row]:
    """One row for each of SIDES. The sides take turns with every photo, so that the machine's moods hit them alike."""
    kilobytes: dict[int | None, list[float]] = {side: [] for side in SIDES}
    prepare: dict[int | None, list[float]] = {side: [] for side in SIDES}
    call: dict[int | None, list[float]] = {side: [] for side in SIDES}
    answers: dict[int | None, list[list[bytes]]] = {side: [] for side in SIDES}
    for photo in photos:
        for side in SIDES:
            options = ImageOptions(max_side=side)
            timings = []
            for _ in range(rounds):
                started = time.perf_counter()
                content = encode_image(photo, 0, options)
                prepared = time.perf_counter()
                outputs = client.predict({"image_bytes": [content]})
                timings.append((prepared - started, time.perf_counter() - started))
            kilobytes[side].append(len(content) / 1e3)
            prepare[side].append(min(first for first, _ in timings) * 1e3)
            call[side].append(min(both for _, both in timings) * 1e3)
            answers[side].append(outputs["labels"][0].tolist())
    return [
        Row(
            side,
            statistics.mean(kilobytes[side]),
            statistics.mean(prepare[side]),
            statistics.mean(call[side]),
            _agreement(answers[side], answers[None], 1),
            _agreement(answers[side], answers[None], TOP),
        )
        for side in SIDES
    ]


def _agreement(found: list[list[bytes]], expected: list[list[bytes]], top: int) -> float:
    """The share of the expected `top` labels that were found among the `top`."""
    pairs = zip(found, expected, strict=True)
    return statistics.mean(len(set(a[:top]) & set(b[:top])) / top for a, b in pairs)


def _spread(paths: Sequence[Path], count: int) -> list[Path]:
    """`count` of the paths, evenly spread, so that every class is among them."""
    places = np.unique(np.linspace(0, len(paths) - 1, min(count, len(paths))).round().astype(int))
    return [paths[place] for place in places.tolist()]


def _photos(data: Path, flowers: int) -> dict[str, list[Path]]:
    large = sorted((data / "large_photos").glob("*.jpg"))
    small = _spread(sorted((data / "flowers").glob("*/*.jpg")), flowers)
    return {f"{len(large)} camera photos (large_photos)": large, f"{len(small)} web photos (flowers)": small}


def _report(tables: dict[str, list[Row]]) -> str:
    """The command, the machine and the tables, as Markdown."""
    versions = f"Python {platform.python_version()}, Pillow {PIL.__version__}, TensorFlow {tf.__version__}"
    parts = [
        f"`python -m benchmarks.downscale {' '.join(sys.argv[1:])}`\n\n"
        f"{available_cpus()} cores ({platform.machine()}) for client and server; {versions}; MobileNetV2 1.0 with the "
        f"preprocessing {PREPROCESSING.replace('|', ', ')}.\n"
    ]
    for name, rows in tables.items():
        parts.append(
            f"### {name}\n\n"
            "| `max_side` | kB a picture | prepare, ms | whole call, ms | same first label | same of the first 5 |\n"
            "|---|---|---|---|---|---|\n"
            + "".join(
                f"| {row.max_side or 'none'} | {row.kilobytes:.1f} | {row.prepare_ms:.2f} | {row.call_ms:.1f} "
                f"| {row.top_1:.1%} | {row.top_5:.1%} |\n"
                for row in rows
            )
        )
    return "\n".join(parts)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    description, _, examples = (__doc__ or "").partition("examples:")
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.downscale",
        description=description,
        epilog=f"examples:{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        help="folder with large_photos/*.jpg, flowers/CLASS/*.jpg and weights (a classifier in TF Hub's format)",
    )
    parser.add_argument("--flowers", type=int, default=400, help="how many of the flowers (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="times each is sent, the best counts (%(default)s)")
    parser.add_argument("--write", type=page.page, help="put the tables into this document, between its marks")
    return parser


def main() -> None:
    parser = _parser()
    options = parser.parse_args()
    if options.flowers < 1 or options.rounds < 1:
        parser.error("--flowers and --rounds: give 1 or more")
    for name in ("large_photos", "flowers", "weights"):
        if not (options.data / name).is_dir():
            parser.error(f"--data: {options.data / name} is not there")
    tables = {}
    with tempfile.TemporaryDirectory() as folder:
        _say("exporting the classifier")
        models.write_imagenet(options.data / "weights", PREPROCESSING, Path(folder) / models.NAME / "1")
        with (
            embedded_server(Path(folder) / models.NAME) as server,
            GrpcClient(f"localhost:{server.grpc_port}", model=models.NAME) as client,
        ):
            for name, photos in _photos(options.data, options.flowers).items():
                _say(f"sending {name}")
                for photo in _spread(photos, 10):
                    client.predict({"image_bytes": [photo.read_bytes()]})
                tables[name] = measure(client, photos, options.rounds)
    report = _report(tables)
    print(report)
    if options.write:
        page.write(options.write, report)


if __name__ == "__main__":
    main()
