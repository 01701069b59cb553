"""`vitrine-client bench`: a quick figure of how fast a server answers, from one closed loop."""

from __future__ import annotations

import argparse
import itertools
import threading
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from vitrine_client.blocking import Client
from vitrine_client.cli import connection
from vitrine_client.cli.console import Console
from vitrine_client.cli.failures import told
from vitrine_client.cli.picture_paths import picture_paths
from vitrine_client.errors import VitrineError
from vitrine_client.images import ImageOptions, encode_images
from vitrine_client.tables import Cell, format_table


class Measured(NamedTuple):
    """What became of the requests that ended within a stretch of time.

    Attributes:
        seconds: how long that stretch was.
        latencies: milliseconds of each request that was answered.
        errors: how many of the others failed, by the name of their error.
        example: one of these errors.
    """

    seconds: float
    latencies: Sequence[float]
    errors: Counter[str]
    example: VitrineError | None


class ClosedLoop:
    """Threads that ask without a pause, each as soon as it has been answered.

    Args:
        contents: image files to ask about, in turn.
    """

    def __init__(self, client: Client, contents: Sequence[bytes], concurrency: int) -> None:
        self._client = client
        self._contents = itertools.cycle(contents)
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._clear()
        # Daemons, so that after Ctrl-C nobody waits for a server that does not answer.
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(concurrency)]

    def run(self, seconds: float, warm_up: float) -> tuple[Measured, bool]:
        """What was measured after the warm-up, and whether Ctrl-C cut it short."""
        interrupted = False
        try:
            for thread in self._threads:
                thread.start()
            self._stopped.wait(warm_up)
            self._clear()
            self._stopped.wait(seconds)
        except KeyboardInterrupt:
            interrupted = True
        with self._lock:
            self._stopped.set()
            # Cut short during the warm-up, it is all there is.
            measured = Measured(time.perf_counter() - self._start, self._latencies, self._errors, self._example)
        try:
            for thread in [] if interrupted else self._threads:
                thread.join()
        except KeyboardInterrupt:
            interrupted = True
        return measured, interrupted

    def _clear(self) -> None:
        with self._lock:
            self._latencies: list[float] = []
            self._errors: Counter[str] = Counter()
            self._example: VitrineError | None = None
            self._start = time.perf_counter()

    def _ask(self) -> None:
        while not self._stopped.is_set():
            with self._lock:
                content = next(self._contents)
            start, failure = time.perf_counter(), None
            try:
                self._client.classify([content], check="off")
            except VitrineError as error:
                failure = error
            except RuntimeError:
                # Interrupted, and so closed.
                if self._stopped.is_set():
                    return
                raise
            milliseconds = (time.perf_counter() - start) * 1000
            with self._lock:
                if self._stopped.is_set():
                    return
                if failure is None:
                    self._latencies.append(milliseconds)
                else:
                    self._errors[type(failure).__name__] += 1
                    self._example = failure


def bench(client: Client, options: argparse.Namespace, console: Console) -> int:
    """Returns 1 if a request failed.

    Raises:
        KeyboardInterrupt: Ctrl-C cut it short; what was measured until then is written.
        VitrineError: a picture that cannot be read, or no answer to the first request.
    """
    as_sent = ImageOptions(allow_urls=options.allow_urls, check="full")
    contents = encode_images(picture_paths(options.paths), as_sent, options.timeout)
    # A wrong address or model is told now, and not by thousands of failed requests.
    client.classify([contents[0]], check="off")
    transport, addresses = connection.server(options)
    if not options.quiet:
        console.say(
            f"a quick figure: {options.concurrency} at a time, each as soon as it is answered, {options.seconds:g} s"
        )
        if any(map(connection.is_local, addresses)):
            console.say("client and server share this machine: each takes processor time from the other")
    measured, interrupted = ClosedLoop(client, contents, options.concurrency).run(options.seconds, options.warm_up)
    if interrupted:
        console.begin_line()
    if measured.example is not None and not options.quiet:
        console.say(told(measured.example, options), "for example")
    figures = _figures(measured)
    if options.json:
        shown = [connection.without_passwords(address, options) for address in addresses]
        asked = {"transport": transport, "addresses": shown, "model": connection.model(options)}
        load = {"pictures": len(contents), "concurrency": options.concurrency, "interrupted": interrupted}
        console.write_json({**asked, **load, **figures})
    else:
        _write_table(console, figures)
    if interrupted:
        raise KeyboardInterrupt
    if not (measured.latencies or measured.errors):
        console.say("no request ended within that time: give more --seconds")
    return 1 if measured.errors or not measured.latencies else 0


def _figures(measured: Measured) -> dict[str, Any]:
    latencies = np.array(measured.latencies or [np.nan])
    p50, p90, p99 = np.percentile(latencies, [50, 90, 99])
    named = {"mean": latencies.mean(), "p50": p50, "p90": p90, "p99": p99}
    return {
        "seconds": round(measured.seconds, 3),
        "requests": len(measured.latencies),
        "requests_per_second": round(len(measured.latencies) / measured.seconds, 1),
        "latency_ms": {name: None if np.isnan(ms) else round(float(ms), 3) for name, ms in named.items()},
        "errors": dict(measured.errors.most_common()),
    }


def _write_table(console: Console, figures: dict[str, Any]) -> None:
    latencies = {f"{name} ms": "" if ms is None else f"{ms:.1f}" for name, ms in figures["latency_ms"].items()}
    errors = ", ".join(f"{count} {name}" for name, count in figures["errors"].items())
    rate = Cell(f"{figures['requests_per_second']:.1f}", "cyan")
    row = (figures["requests"], rate, *latencies.values(), Cell(errors, "red") if errors else "0")
    headers = ("requests", "requests/s", *latencies, "errors")
    console.write(format_table(headers, [row], coloured=console.coloured))
