"""Ways to export the same network, served by the embedded server: throughput, and whether they answer the same.

About six minutes with 5 rounds of 8 seconds.
"""

from __future__ import annotations

import re
import shutil
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import load, models
from benchmarks.performance.section import Bench, Findings, Section, Table
from benchmarks.processes import ServerProcess, embedded_server
from vitrine_client import GrpcClient

OURS, PLAIN = "ours", "plain Keras export"
_CLIENTS = 16
_PICTURES = 200
_PICTURES_A_CALL = 8
_CLASSES = 1001
# The sizes and the queue of `vitrine-export`'s own batch; as many threads as cores, as TensorFlow Serving has it.
_BATCHING = """max_batch_size {{ value: 32 }}
batch_timeout_micros {{ value: 0 }}
max_enqueued_batches {{ value: 1000 }}
num_batch_threads {{ value: {cores} }}
{sizes}
"""
_SIZES = (1, 2, 4, 8, 16, 32)


_TEXT = """\
The same network, exported in several ways, each behind an embedded server of its own; the servers run side by side and
are loaded one at a time, in turns. *Ours* is what `vitrine-export` writes: pictures are decoded in their own requests,
the network runs in a batch inside the graph, its batch normalisation folded into the convolutions before it, which
*not folded* has as it was trained. *Plain Keras export* is `keras.Model.export` of the network with a layer
before it that decodes by `tf.map_fn`, batched by the server (`--enable_batching`, the same batch sizes, no waiting), so
decoding is part of the batch and a broken picture would fail the requests beside it; the pictures here are all whole.
*Frozen* has constants for variables. The others compute in types of 16 bits by Keras's dtype policies, the last layer
in float32; they are measured only where the CPU computes with such types. "Same label" and "largest change" say what
that costs in answers: the share of pictures with the same first label as ours, and the largest change of any
probability.\
"""
_TRAINED = "ImageNet's classes do not fit all of these photos, and an unsure network changes its mind easily."
_RANDOM = "With random weights all scores are nearly the same, so the labels here say little: only the changes count."


@dataclass(frozen=True)
class Variant:
    """A way to export the network.

    Attributes:
        policy: Keras's dtype policy.
        folded: with batch normalisation made part of the convolutions.
        frozen: with constants for variables.
        plain: by Keras, decoding in the server's batch; else by `vitrine-export`.
        needs: flags of a CPU that computes with these types; any of them will do, none: all CPUs do.
    """

    name: str
    policy: str = "float32"
    folded: bool = True
    frozen: bool = False
    plain: bool = False
    needs: frozenset[str] = frozenset()

    @property
    def signature(self) -> str:
        """The one that answers with `probabilities`."""
        return "serving_default" if self.plain else "probabilities"

    def missing(self, flags: frozenset[str]) -> str:
        """Why a CPU with these flags does without it, or ""."""
        if not self.needs or self.needs & flags:
            return ""
        return f"not measured: this CPU has no {' or '.join(sorted(self.needs))}"

    def write(self, network: Any, version: Path) -> None:
        """Export the float32 `network` in this way."""
        if self.policy != "float32":
            weights = network.get_weights()
            network = models.mobilenet(network.output_shape[-1], self.policy)
            network.set_weights(weights)
        if self.plain:
            models.write_plain(network, version)
        else:
            models.write_network(network, version, self.folded, self.frozen)


_BFLOAT16 = frozenset({"avx512_bf16", "amx_bf16"})
VARIANTS = (
    Variant(OURS),
    Variant(PLAIN, plain=True),
    Variant("not folded", folded=False),
    Variant("frozen", frozen=True),
    Variant("bfloat16", "bfloat16", needs=_BFLOAT16),
    Variant("mixed_bfloat16", "mixed_bfloat16", needs=_BFLOAT16),
    Variant("mixed_float16", "mixed_float16", needs=frozenset({"avx512_fp16", "amx_fp16"})),
)


@dataclass(frozen=True)
class Block:
    """One measurement: requests a second, milliseconds of latency, milliseconds of the server's CPU a request."""

    rate: float
    p50: float
    p99: float
    cpu: float


@dataclass(frozen=True)
class Agreement:
    """Of two exports' answers to the same pictures: the share of first labels, the largest difference of a score."""

    labels: float
    difference: float


def cpu_flags(cpuinfo: str) -> frozenset[str]:
    """What the first processor of /proc/cpuinfo can do."""
    found = re.search(r"^flags\s*:(.*)$", cpuinfo, re.MULTILINE)
    return frozenset(found[1].split()) if found else frozenset()


def agreement(found: NDArray[np.float32], expected: NDArray[np.float32]) -> Agreement:
    """Of probabilities [N, C]."""
    same = found.argmax(axis=1) == expected.argmax(axis=1)
    return Agreement(float(same.mean()), float(np.abs(found - expected).max()))


def batching_parameters(cores: int) -> str:
    """The text of `--batching_parameters_file` for the plain export."""
    return _BATCHING.format(cores=cores, sizes="\n".join(f"allowed_batch_sizes: {size}" for size in _SIZES))


def summary(blocks: Mapping[str, Sequence[Block]]) -> dict[str, dict[str, float]]:
    """By variant: the medians of its rounds, and the median of the rounds' quotients with `OURS`."""
    return {
        name: {
            "requests a second": statistics.median(block.rate for block in rounds),
            "ratio": statistics.median(
                block.rate / ours.rate for block, ours in zip(rounds, blocks[OURS], strict=True)
            ),
            "p50 ms": statistics.median(block.p50 for block in rounds),
            "p99 ms": statistics.median(block.p99 for block in rounds),
            "server CPU ms": statistics.median(block.cpu for block in rounds),
        }
        for name, rounds in blocks.items()
    }


def run(bench: Bench) -> Findings:
    flags = cpu_flags(Path("/proc/cpuinfo").read_text())
    here = [variant for variant in VARIANTS if not variant.missing(flags)]
    folder, trained = _exports(bench, here)
    pictures = bench.pictures(_PICTURES)
    with ExitStack() as stack:
        servers = {variant.name: _server(bench, variant, folder, stack) for variant in here}
        answers = {variant.name: _answers(servers[variant.name], variant, pictures) for variant in here}
        makers = {variant.name: _makers(servers[variant.name], variant, pictures) for variant in here}
        blocks = _rounds(bench, servers, makers)
    agreements = {name: agreement(found, answers[OURS]) for name, found in answers.items()}
    missing = {variant.name: variant.missing(flags) for variant in VARIANTS if variant not in here}
    return _findings(bench, trained, len(pictures), summary(blocks), agreements, missing)


def _exports(bench: Bench, variants: Sequence[Variant]) -> tuple[Path, bool]:
    """The folder with each variant's base path by its name, and whether they are trained: else weights are random."""
    weights = bench.data / "weights" if bench.data else Path()
    trained = (weights / "hub" / models.IMAGENET_CLASSIFIER).is_dir()
    folder = bench.models / "variants" / ("imagenet" if trained else "random")
    if not all((folder / variant.name).is_dir() for variant in variants):
        # All of them anew, and all or none: those with other random weights could not be compared.
        unfinished = folder.with_suffix(".unfinished")
        for old in (folder, unfinished):
            shutil.rmtree(old, ignore_errors=True)
        network = models.imagenet(weights) if trained else models.mobilenet(_CLASSES)
        for variant in variants:
            bench.say(f"exporting: {variant.name}")
            variant.write(network, unfinished / variant.name / "1")
        unfinished.rename(folder)
    return folder, trained


def _server(bench: Bench, variant: Variant, folder: Path, stack: ExitStack) -> ServerProcess:
    flags: tuple[str, ...] = ()
    if variant.plain:
        parameters = bench.work / "batching.config"
        parameters.write_text(batching_parameters(bench.cores))
        flags = ("--enable_batching", f"--batching_parameters_file={parameters}")
    return stack.enter_context(embedded_server(folder / variant.name, *flags))


def _answers(server: ServerProcess, variant: Variant, pictures: Sequence[bytes]) -> NDArray[np.float32]:
    """Probabilities [N, C] of all pictures."""
    with GrpcClient(f"127.0.0.1:{server.grpc_port}", model=models.NAME, timeout=60) as client:
        groups = [list(pictures[at : at + _PICTURES_A_CALL]) for at in range(0, len(pictures), _PICTURES_A_CALL)]
        answers = [client.predict({"image_bytes": group}, variant.signature) for group in groups]
    return np.concatenate([answer["probabilities"] for answer in answers])


def _makers(server: ServerProcess, variant: Variant, pictures: Sequence[bytes]) -> list[Callable[[], load.Send]]:
    payloads = [models.photo_request(picture, variant.signature).SerializeToString() for picture in pictures]
    # Each client begins elsewhere, so that not all of them have the same picture in work.
    starts = [number * len(payloads) // _CLIENTS for number in range(_CLIENTS)]
    return [load.grpc_client(server.grpc_port, payloads[start:] + payloads[:start]) for start in starts]


def _rounds(
    bench: Bench,
    servers: Mapping[str, ServerProcess],
    makers: Mapping[str, Sequence[Callable[[], load.Send]]],
) -> dict[str, list[Block]]:
    """By variant, a block of each round; every other round goes through them backwards."""
    blocks: dict[str, list[Block]] = {name: [] for name in servers}
    for number in range(bench.rounds):
        for name in list(servers)[:: -1 if number % 2 else 1]:
            blocks[name].append(_block(servers[name], makers[name], bench.seconds))
            bench.say(f"round {number + 1}, {name}: {blocks[name][-1].rate:.1f} requests/s")
    return blocks


def _block(server: ServerProcess, makers: Sequence[Callable[[], load.Send]], seconds: float) -> Block:
    with load.clients(makers) as running:
        time.sleep(min(1.0, seconds / 2))
        before, cpu, started = running.count, server.cpu_seconds(), time.perf_counter()
        time.sleep(seconds)
        answered = running.count - before
        took, used = time.perf_counter() - started, server.cpu_seconds() - cpu
        latencies = running.seconds[before : before + answered]
        running.require_no_errors()
    percentiles = statistics.quantiles(latencies, n=100)
    return Block(answered / took, percentiles[49] * 1e3, percentiles[98] * 1e3, used / answered * 1e3)


def _findings(
    bench: Bench,
    trained: bool,
    pictures: int,
    figures: Mapping[str, Mapping[str, float]],
    agreements: Mapping[str, Agreement],
    missing: Mapping[str, str],
) -> Findings:
    rows = []
    for variant in VARIANTS:
        name = variant.name
        if name in missing:
            rows.append([name, missing[name], *["-"] * 6])
            continue
        found, agreed = figures[name], agreements[name]
        rows.append(
            [
                name,
                f"{found['requests a second']:.1f}",
                f"{found['ratio']:.2f}",
                f"{found['p50 ms']:.0f}",
                f"{found['p99 ms']:.0f}",
                f"{found['server CPU ms']:.1f}",
                f"{agreed.labels:.1%}",
                f"{agreed.difference:.2g}",
            ]
        )
    header = ["export", "requests/s", "of ours", "p50, ms", "p99, ms", "server CPU, ms", "same label", "largest change"]
    weights = "ImageNet's weights" if trained else "random weights"
    photos = "photos" if bench.data else "made pictures"
    caption = (
        f"MobileNetV2 1.0 at 224 with {weights}, one JPEG a request by gRPC, {_CLIENTS} clients in a closed loop, "
        f"medians of {bench.rounds} rounds; labels and scores of {pictures} {photos} against ours"
    )
    return Findings(
        f"{_TEXT} {_TRAINED if trained else _RANDOM}",
        [Table(caption, header, rows)],
        figures={
            "weights": weights,
            "variants": {
                name: {**found, "same label": agreements[name].labels, "largest change": agreements[name].difference}
                for name, found in figures.items()
            },
            "missing": dict(missing),
        },
    )


SECTION = Section("variants", "Ways to export the same network", run, minutes=6)
