"""What the client library costs beside the least code that does the same, as ratios measured side by side in one run.

All times are CPU time of the process that calls, gRPC's threads in it included; the server is a process of its own.
"""

from __future__ import annotations

import argparse
import base64
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import requests
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from benchmarks import models
from benchmarks.processes import ServerProcess, embedded_server
from vitrine_client import GrpcClient, RestClient

_SIDE = models.PICTURE_SIDE
_BATCH = 32
_TOP = 5
_UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
_TIMEOUT = 60.0
_WARM_UP_CALLS = 3
IMPORT_TARGET = 1.3
# As a program that uses them imports them: generated messages need the pool and the symbol database.
_THE_FIVE = "import grpc, numpy, PIL.Image, requests\nfrom google.protobuf import descriptor_pool, symbol_database"

Call = Callable[[], object]


@dataclass(frozen=True)
class Pair:
    """A call by the client, the call that it is measured against, and what the quotient of their times is to be."""

    name: str
    ours: Call
    other: Call
    target: float | None = None


class _Wire(tf.Module):
    """No model to speak of: pictures get labels at once, and batches come back as they are."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
    def classify(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        count = tf.size(image_bytes)
        labels = tf.constant([[f"class {number}" for number in range(_TOP)]])
        scores = tf.constant([[1 / 2**number for number in range(1, _TOP + 1)]])
        return {"labels": tf.tile(labels, [count, 1]), "scores": tf.tile(scores, [count, 1])}

    @tf.function(input_signature=[tf.TensorSpec([None, _SIDE, _SIDE, 3], tf.float32, name="x")])
    def same(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.identity(x)}

    @tf.function(input_signature=[tf.TensorSpec([None, _SIDE, _SIDE, 3], tf.float32, name="x")])
    def logits(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": x[:, 0, :10, 0]}

    @tf.function(input_signature=[tf.TensorSpec([None, 10], tf.float32, name="x")])
    def rows(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.identity(x)}


def picture_pairs(server: ServerProcess, stack: ExitStack) -> Iterator[Pair]:
    """One JPEG by gRPC, against TensorFlow's own stub with and without its way of reading tensors."""
    client = stack.enter_context(GrpcClient(f"127.0.0.1:{server.grpc_port}", model=models.NAME))
    stub = _stub(server, stack)
    [photo] = models.photos(1)

    def ask() -> predict_pb2.PredictResponse:
        return stub.Predict(models.photo_request(photo), timeout=_TIMEOUT)

    def written_by_hand() -> list[tuple[str, float]]:
        outputs = ask().outputs
        labels, scores = tf.make_ndarray(outputs["labels"]), tf.make_ndarray(outputs["scores"])
        return [(label.decode(), float(score)) for label, score in zip(labels[0], scores[0], strict=True)]

    def classify() -> object:
        return client.classify([photo])

    yield Pair("one JPEG, the stub and make_ndarray", classify, written_by_hand, 1.15)
    yield Pair("one JPEG, the stub's answer unread", classify, ask)


def batch_pairs(server: ServerProcess, stack: ExitStack, form: str) -> Iterator[Pair]:
    """A batch of float pictures by gRPC, against TensorFlow's own stub."""
    client = stack.enter_context(GrpcClient(f"127.0.0.1:{server.grpc_port}", model=models.NAME))
    stub = _stub(server, stack)
    batch = np.random.default_rng(0).random((_BATCH, _SIDE, _SIDE, 3), np.float32)
    for signature, target in (("same", 0.2 if form == "typed" else 1.0), ("logits", 1.0)):

        def official(signature: str = signature) -> object:
            request = predict_pb2.PredictRequest()
            request.model_spec.name, request.model_spec.signature_name = models.NAME, signature
            request.inputs["x"].CopyFrom(tf.make_tensor_proto(batch))
            return tf.make_ndarray(stub.Predict(request, timeout=_TIMEOUT).outputs["y"])

        def ours(signature: str = signature) -> NDArray[Any]:
            return client.predict({"x": batch}, signature)["y"]

        shape = list(ours().shape)
        yield Pair(f"float batch, {shape} back, {form}", ours, official, target)


def rest_pairs(server: ServerProcess, stack: ExitStack) -> Iterator[Pair]:
    """REST, against requests with a body that is ready."""
    url = f"http://127.0.0.1:{server.rest_port}"
    client = stack.enter_context(RestClient(url, model=models.NAME))
    session = stack.enter_context(requests.Session())
    [photo] = models.photos(1)
    rows = np.random.default_rng(0).random((_BATCH, 10), np.float32)
    encoded = base64.b64encode(photo).decode()
    calls: dict[str, tuple[Call, dict[str, Any]]] = {
        "one JPEG": (lambda: client.classify([photo]), {"inputs": {"image_bytes": [{"b64": encoded}]}}),
        f"{list(rows.shape)} floats": (
            lambda: client.predict({"x": rows}, "rows"),
            {"signature_name": "rows", "inputs": {"x": rows.tolist()}},
        ),
    }
    for name, (ours, body) in calls.items():
        content = json.dumps(body)

        def bare(post: Callable[..., requests.Response], content: str) -> object:
            return post(f"{url}/v1/models/{models.NAME}:predict", data=content, timeout=_TIMEOUT).json()

        yield Pair(f"REST, {name}, requests.post", ours, partial(bare, requests.post, content), 1.2)
        yield Pair(f"REST, {name}, a Session", ours, partial(bare, session.post, content))


def import_figures(rounds: int) -> Iterator[tuple[str, float, float]]:
    """Time and memory of imports in a fresh process, against the five dependencies alone."""
    imports = {
        "import": "import vitrine_client",
        "import of both clients": "from vitrine_client import GrpcClient, RestClient",
        "five": _THE_FIVE,
    }
    figures: dict[str, list[tuple[float, float]]] = {name: [] for name in imports}
    for number in range(rounds + 1):
        for name, statement in imports.items():
            figure = _imported(statement)
            # The first ones read files that are in no cache yet.
            if number:
                figures[name].append(figure)
    medians = {
        name: [statistics.median(values) for values in zip(*found, strict=True)] for name, found in figures.items()
    }
    five = medians.pop("five")
    for name, found in medians.items():
        for what, ours, other in zip(("time, ms", "memory, MB"), found, five, strict=True):
            yield f"{name}, {what}", ours, other


def _imported(statement: str) -> tuple[float, float]:
    """Milliseconds of CPU time and the process's megabytes at its peak."""
    code = (
        "import time\n"
        "started = time.process_time()\n"
        f"{statement}\n"
        "used = time.process_time() - started\n"
        "peak = next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
        "print(used * 1e3, int(peak) * 1024 / 1e6)\n"
    )
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    milliseconds, megabytes = map(float, said.split())
    return milliseconds, megabytes


def _stub(server: ServerProcess, stack: ExitStack) -> Any:
    channel = stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}", _UNLIMITED))
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


def measured(pair: Pair, rounds: int, seconds: float) -> tuple[float, float, float]:
    """Milliseconds of CPU of a call by the client and of the other one, and the median of the rounds' quotients."""
    calls = (pair.ours, pair.other)
    for call in calls:
        for _ in range(_WARM_UP_CALLS):
            call()
    counts = [_count(call, seconds) for call in calls]
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds):
        # Whichever comes second finds the caches as the first one left them, so they take turns.
        for place in (0, 1) if number % 2 else (1, 0):
            times[place].append(_cpu_milliseconds(calls[place], counts[place]))
    ratio = statistics.median(ours / other for ours, other in zip(*times, strict=True))
    return statistics.median(times[0]), statistics.median(times[1]), ratio


def _count(call: Call, seconds: float) -> int:
    """How many calls take about so many seconds."""
    started = time.perf_counter()
    call()
    return max(1, round(seconds / (time.perf_counter() - started)))


def _cpu_milliseconds(call: Call, count: int) -> float:
    started = time.process_time()
    for _ in range(count):
        call()
    return (time.process_time() - started) / count * 1e3


@contextmanager
def wire_servers(forms: Sequence[str]) -> Iterator[dict[str, ServerProcess]]:
    """By the form in which they answer with tensors: "typed" or "content"."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        base, model = Path(folder), _Wire()
        signatures = {"serving_default": model.classify, "same": model.same, "logits": model.logits, "rows": model.rows}
        tf.saved_model.save(model, str(base / "1"), signatures=signatures)
        flags = {"typed": (), "content": ("--enable_serialization_as_tensor_content",)}
        yield {form: stack.enter_context(embedded_server(base, *flags[form])) for form in forms}


def pairs(only: Sequence[str], servers: dict[str, ServerProcess], stack: ExitStack) -> Iterator[Pair]:
    if "picture" in only:
        yield from picture_pairs(servers["typed"], stack)
    if "batch" in only:
        for form, server in servers.items():
            yield from batch_pairs(server, stack, form)
    if "rest" in only:
        yield from rest_pairs(servers["typed"], stack)


def _print_line(name: str, ours: float, other: float, ratio: float, target: float | None) -> None:
    limit = f"{target:.2f}" if target else "-"
    print(f"{name:<46} {ours:>9.2f} {other:>9.2f} {ratio:>7.3f} {limit:>9}", flush=True)


def main() -> None:
    everything = ("picture", "batch", "rest", "import")
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.client",
        description=__doc__,
        epilog="""examples:
  python -m benchmarks.client                               everything, in a few minutes
  python -m benchmarks.client --only batch --rounds 21      the float batch alone, more exactly
  python -m benchmarks.client --only picture rest --seconds 2""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=11, help="measurements of each pair (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=0.5, help="length of a measurement (default %(default)s)")
    parser.add_argument("--only", nargs="+", choices=everything, default=everything, help="which (default: all)")
    options = parser.parse_args()
    print(f"Python {platform.python_version()}, {platform.platform()}")
    print(f"{'CPU ms of a call, against':<46} {'client':>9} {'other':>9} {'ratio':>7} {'at most':>9}")
    if set(options.only) - {"import"}:
        # An idle process less beside the measurement.
        forms = ("typed", "content") if "batch" in options.only else ("typed",)
        with wire_servers(forms) as servers, ExitStack() as stack:
            for pair in pairs(options.only, servers, stack):
                ours, other, ratio = measured(pair, options.rounds, options.seconds)
                _print_line(pair.name, ours, other, ratio, pair.target)
    if "import" in options.only:
        for name, ours, five in import_figures(options.rounds):
            _print_line(name, ours, five, ours / five, IMPORT_TARGET)


if __name__ == "__main__":
    main()
