"""What a GPU does while the embedded server is under load, and how many cores must decode to keep it busy.

A minute with the defaults. Without `nvidia-smi` nothing is run, which the document then says.
"""

from __future__ import annotations

import contextlib
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import in_process, load, models, processes
from benchmarks.performance.section import Bench, Findings, NotHere, Section, Table
from vitrine_client.load import server_metrics

_PROGRAM = "nvidia-smi"
_QUERY = "index,utilization.gpu,memory.used,memory.total"
_EVERY_MILLISECONDS = 200
_IN_FLIGHT = 64
_BATCH = 32
_DECODED = 64


@dataclass(frozen=True)
class Sample:
    """One line of nvidia-smi: percent, and MiB."""

    index: int
    utilisation: float
    used: float
    total: float


@dataclass
class Samples:
    """All that were taken while watching."""

    taken: list[Sample] = field(default_factory=list)

    def utilisation(self) -> float | None:
        """Mean percent of the busiest GPU; None where nothing was sampled."""
        by_gpu: dict[int, list[float]] = {}
        for sample in self.taken:
            by_gpu.setdefault(sample.index, []).append(sample.utilisation)
        return max((statistics.mean(values) for values in by_gpu.values()), default=None)

    def used(self) -> float | None:
        """The most MiB that a GPU had in use; None where nothing was sampled."""
        return max((sample.used for sample in self.taken), default=None)


def here() -> bool:
    return shutil.which(_PROGRAM) is not None


def name() -> str | None:
    """Of the machine's GPUs, with the driver's version; None where there is none."""
    if not here():
        return None
    command = [_PROGRAM, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    return "; ".join(done.stdout.strip().splitlines()) or None if done.returncode == 0 else None


def parse(text: str) -> list[Sample]:
    """The lines of `--format=csv,noheader,nounits`; a figure that a GPU does not have (`[N/A]`) leaves its line out."""
    samples = []
    for line in text.splitlines():
        fields = [value.strip() for value in line.split(",")]
        if len(fields) != len(_QUERY.split(",")):
            continue
        with contextlib.suppress(ValueError):
            samples.append(Sample(int(fields[0]), float(fields[1]), float(fields[2]), float(fields[3])))
    return samples


@contextlib.contextmanager
def watching() -> Iterator[Samples]:
    """Sample the GPUs while the block runs; the samples are there after it, and none without nvidia-smi."""
    samples = Samples()
    if not here():
        yield samples
        return
    command = [_PROGRAM, f"--query-gpu={_QUERY}", "--format=csv,noheader,nounits", f"-lms={_EVERY_MILLISECONDS}"]
    with tempfile.TemporaryFile("w+") as lines:
        process = subprocess.Popen(command, stdout=lines, stderr=subprocess.DEVNULL)
        try:
            yield samples
        finally:
            process.terminate()
            process.wait()
            lines.seek(0)
            samples.taken = parse(lines.read())


def decode_cores(decode_seconds: float, pictures_per_second: float) -> float:
    """Cores that do nothing but decode, for a GPU that takes so many pictures a second."""
    return decode_seconds * pictures_per_second


def batch_sizes(before: server_metrics.Scrape, after: server_metrics.Scrape) -> list[tuple[float, float]]:
    """How many batches had up to so many rows; none without batching in the server."""
    found = server_metrics.difference(before, after)["batch_size"] or {"histogram": []}
    return [(upper, count) for upper, count in found["histogram"]]


def run(bench: Bench) -> Findings:
    """The embedded server and, where it is on PATH, TensorFlow Serving, with their metrics on."""
    if not here():
        raise NotHere(f"not run here: this machine has no {_PROGRAM}, so no NVIDIA GPU")
    pictures = bench.pictures(32)
    decode_seconds = _decode_seconds(pictures)
    # Several at once, so that the GPU has one batch while the next is copied to it.
    [limit] = in_process.in_a_process(bench.model / "1", bench.seconds, f"{_BATCH}x4", network=True).values()
    servers = {"embedded": processes.embedded_server}
    rows: list[list[str]] = []
    figures: dict[str, Any] = {"decode_seconds": decode_seconds, "network_rate": limit}
    if processes.tensorflow_serving_here():
        servers["TensorFlow Serving"] = _tensorflow_serving
    for title, start in servers.items():
        bench.say(f"{title}: {_IN_FLIGHT} in flight")
        seen = _under_load(bench, start, pictures)
        figures[title] = asdict(seen)
        sizes = ", ".join(f"≤{bound:g}: {count:g}" for bound, count in seen.batches) or "not in its metrics"
        rows.append([title, f"{seen.rate:.0f}", _number(seen.utilisation), _number(seen.memory), sizes])
    cores = decode_cores(decode_seconds, limit)
    text = (
        f"{_IN_FLIGHT} in flight. The network alone takes {limit:.0f} pictures a second in batches of {_BATCH}, called "
        f"directly with decoded pictures. A picture's decoding and resizing costs {decode_seconds * 1e3:.2f} ms of a "
        f"core, so **{cores:.1f} cores** must decode to keep one such GPU busy; this machine has {bench.cores}."
    )
    header = ("server", "pictures/s", "GPU busy, %", "GPU memory, MiB", "batches by rows")
    figures["decode_cores"] = cores
    return Findings(text, [Table("Under load", header, rows)], figures=figures)


SECTION = Section("gpu", "On a GPU", run)


@dataclass(frozen=True)
class _Seen:
    rate: float
    utilisation: float | None
    memory: float | None
    batches: list[tuple[float, float]]


def _under_load(bench: Bench, start: processes.Start, pictures: Sequence[bytes]) -> _Seen:
    payloads = [models.photo_request(picture).SerializeToString() for picture in pictures]
    with tempfile.TemporaryDirectory() as folder:
        monitoring = Path(folder) / "monitoring.config"
        monitoring.write_text('prometheus_config { enable: true, path: "/monitoring/prometheus/metrics" }\n')
        with (
            start(bench.model, f"--monitoring_config_file={monitoring}") as server,
            load.clients([load.grpc_client(server.grpc_port, payloads)] * _IN_FLIGHT) as running,
        ):
            time.sleep(max(1.0, bench.seconds / 2))
            address = f"127.0.0.1:{server.rest_port}"
            before = running.count
            with watching() as samples:
                first = _scrape(address)
                started = time.perf_counter()
                time.sleep(bench.seconds)
                rate = (running.count - before) / (time.perf_counter() - started)
                last = _scrape(address)
            running.require_no_errors()
    batches = batch_sizes(first, last) if first and last else []
    return _Seen(rate, samples.utilisation(), samples.used(), batches)


def _scrape(address: str) -> server_metrics.Scrape | None:
    try:
        return server_metrics.scrape(address, models.NAME)
    except server_metrics.NoMetrics:
        return None


@contextlib.contextmanager
def _tensorflow_serving(base_path: Path, *flags: str) -> Iterator[processes.ServerProcess]:
    with processes.tensorflow_serving(base_path, *flags, gpu=True) as server:
        yield server


def _decode_seconds(pictures: Sequence[bytes]) -> float:
    """CPU seconds to decode and resize one picture, on one thread."""
    import tensorflow as tf

    from vitrine_export.preprocessing import Preprocessing

    decode = tf.function(Preprocessing(models.PREPROCESSING).geometry)
    with tf.device("CPU"):
        tensors = [tf.constant(picture) for picture in pictures]
        decode(tensors[0])
        started = time.process_time()
        for number in range(_DECODED):
            decode(tensors[number % len(tensors)])
    return (time.process_time() - started) / _DECODED


def _number(value: float | None) -> str:
    return "not sampled" if value is None else f"{value:.0f}"
