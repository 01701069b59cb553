"""What the server says about itself: the change of its own metrics between a run's begin and end."""

from __future__ import annotations

import math
import re
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import HTTPError

from vitrine_client.images.urls import without_credentials
from vitrine_client.settings import is_loopback

# TensorFlow Serving's own, and the one that most monitoring configurations name instead.
_PATHS = ("/monitoring/prometheus/metrics", "/metrics")
# A server that is overloaded may have no time for this, and nobody waits for it.
_SECONDS = 3.0
_MOST_BYTES = 16 << 20
_PIECE = 1 << 16

_SERVING = ":tensorflow:serving:"
_REQUESTS = f"{_SERVING}request_count"
_REQUEST_TIME = f"{_SERVING}request_latency"
_RUN_TIME = f"{_SERVING}runtime_latency"
# Of --enable_batching, for all models together; and of batches inside of a model's graph, of which TensorFlow Serving
# tells by model and the embedded server does not know.
_QUEUE_TIMES = {
    "server": f"{_SERVING}batching_session:queuing_latency",
    "model": f"{_SERVING}batching:batch_delay_us_v2",
}
_BATCH_SIZES = {"server": f"{_SERVING}batching_session:processed_batch_size", "model": f"{_SERVING}batching:batch_size"}
# These two show a restart when nothing else that was counted before it is there again.
_WITNESSES = (":tensorflow:core:graph_runs", ":tensorflow:cc:saved_model:load_attempt_count")
_FAMILIES = frozenset(
    (_REQUESTS, _REQUEST_TIME, _RUN_TIME, *_QUEUE_TIMES.values(), *_BATCH_SIZES.values(), *_WITNESSES)
)

_SERIES = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})?[ \t]+(\S+)(?:[ \t]+-?\d+)?\s*")
_LABEL = re.compile(r'([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"')
_SUFFIX = re.compile(r"_(?:bucket|sum|count)$")
_ESCAPED = re.compile(r"\\(.)")
_PERCENTILES = (50, 90, 99)
_MICROSECONDS_IN_MS = 1000.0
# TensorFlow Serving writes sums with six digits. A mean that may be more than this off for it is not told.
_DIGITS = 6
_MOST_OFF = 0.02


class NoMetrics(Exception):
    """Why there are none, and what to do; the run goes on without."""


class Series(NamedTuple):
    """One counter, or one part of a histogram."""

    name: str
    labels: frozenset[tuple[str, str]]


@dataclass(frozen=True)
class Scrape:
    """A server's counters at one moment: those of one model, and those that have no model's name."""

    address: str
    model: str
    values: Mapping[Series, float]


def scrape(address: str, model: str) -> Scrape:
    """The metrics of one model on a server's REST port, within about three seconds.

    Args:
        address: `host:port` or `http(s)://host:port`, with or without a path before the metrics' own.

    Raises:
        NoMetrics: the server does not answer in time, or has none.
    """
    base = (address if "://" in address else f"http://{address}").rstrip("/")
    shown = without_credentials(base)
    deadline = time.monotonic() + _SECONDS
    status = 0
    for path in _PATHS:
        try:
            status, content = _page(base + path, deadline)
        except (requests.RequestException, HTTPError, OSError, ValueError) as error:
            raise NoMetrics(
                f"{shown} does not answer about its metrics within {_SECONDS:g} s ({type(error).__name__}): name the "
                "server's REST port with --rest"
            ) from None
        if status == requests.codes.ok:
            values = dict(_series_of(content.decode("utf-8", "replace"), model))
            if values:
                return Scrape(shown, model, values)
    if status == requests.codes.ok:
        raise NoMetrics(f"{shown} has metrics, and none of TensorFlow Serving: name the server's REST port with --rest")
    raise NoMetrics(
        f"{shown} has no metrics (HTTP {status} for {' and '.join(_PATHS)}): start the server with "
        "--monitoring_config_file, and in that file: prometheus_config { enable: true }"
    )


def difference(before: Scrape, after: Scrape) -> dict[str, Any]:
    """What was counted in between, of all the server's clients: `server` in the result.

    Returns:
        `address`; `requests`, and `statuses`: how many by the name of their gRPC status; `request_ms`, `run_ms` and
        `queue_ms`: mean and percentiles in milliseconds, None where nothing was timed; `batched_by`: `server` for
        --enable_batching, whose queue and batches are those of all models together, `model` for batches in the model's
        graph; `batch_size`: mean, and `histogram` of pairs: a size in rows (None for any), and how many batches were
        no larger and larger than the size before; None without batches. Percentiles are interpolated in their bucket,
        as Prometheus' histogram_quantile does. A mean is None where the server's digits do not suffice for one.

    Raises:
        NoMetrics: it is not one server's growth, or not that of the model.
    """
    if any(after.values.get(series, 0.0) < value for series, value in before.values.items()):
        raise NoMetrics(
            f"{after.address} has counted backwards: the server was restarted during the run, or several take turns "
            "at this address; name one server's own with --rest"
        )
    statuses: dict[str, int] = defaultdict(int)
    for series, value in after.values.items():
        grown = value - before.values.get(series, 0.0)
        if series.name == _REQUESTS and grown:
            statuses[dict(series.labels).get("status", "")] += round(grown)
    if not statuses:
        raise NoMetrics(
            f"{after.address} has counted no request for {after.model!r} during the run: name the REST port of the "
            "server that is asked with --rest"
        )
    queues = {by: _grown(before, after, name) for by, name in _QUEUE_TIMES.items()}
    sizes = {by: _grown(before, after, name) for by, name in _BATCH_SIZES.items()}
    by = next((by for by in queues if queues[by] or sizes[by]), None)
    return {
        "address": after.address,
        "requests": sum(statuses.values()),
        "statuses": dict(sorted(statuses.items())),
        "request_ms": _times(_grown(before, after, _REQUEST_TIME)),
        "run_ms": _times(_grown(before, after, _RUN_TIME)),
        "queue_ms": _times(queues[by]) if by else None,
        "batched_by": by,
        "batch_size": _sizes(sizes[by]) if by else None,
    }


def _page(url: str, deadline: float) -> tuple[int, bytes]:
    """Status and content. Raises NoMetrics beyond the limit, TimeoutError beyond the deadline, what requests raises."""
    with requests.Session() as session:
        # A proxy that the environment names for the world outside does not lead to this machine.
        session.trust_env = not is_loopback(urlsplit(url).hostname or "")
        # What is packed could become any size.
        headers = {"Accept-Encoding": "identity"}
        left = max(0.1, deadline - time.monotonic())
        with session.get(url, timeout=left, headers=headers, stream=True, allow_redirects=False) as answer:
            content = b""
            for piece in answer.raw.stream(_PIECE, decode_content=False):
                content += piece
                if len(content) > _MOST_BYTES:
                    raise NoMetrics(f"{without_credentials(url)} is more than {_MOST_BYTES:,} bytes, and no such page")
                if time.monotonic() > deadline:
                    raise TimeoutError
            return answer.status_code, content


def _series_of(text: str, model: str) -> Iterator[tuple[Series, float]]:
    """Prometheus' text format: the series that are read here; lines that are none are passed over."""
    for line in text.split("\n"):
        found = _SERIES.fullmatch(line)
        if not found or not (found[1] in _FAMILIES or _SUFFIX.sub("", found[1]) in _FAMILIES):
            continue
        labels = {name: _ESCAPED.sub(_unescaped, value) for name, value in _LABEL.findall(found[2] or "")}
        if labels.get("model_name", model) != model:
            continue
        try:
            value = float(found[3])
        except ValueError:
            continue
        if math.isfinite(value):
            yield Series(found[1], frozenset(labels.items())), value


def _unescaped(found: re.Match[str]) -> str:
    return "\n" if found[1] == "n" else found[1]


@dataclass(frozen=True)
class _Distribution:
    """Values that were added to a histogram: how many below each bound and not below the one before, at least one."""

    buckets: tuple[tuple[float, float], ...]
    mean: float | None

    @property
    def count(self) -> float:
        return sum(count for _, count in self.buckets)

    def percentile(self, percent: float) -> float:
        rank, lower = self.count * percent / 100, 0.0
        for bound, count in self.buckets:
            if count and rank <= count:
                # Nothing is known of what is beyond the last bound but that.
                return lower + (bound - lower) * rank / count if math.isfinite(bound) else lower
            rank -= count
            lower = bound if math.isfinite(bound) else lower
        return lower


def _grown(before: Scrape, after: Scrape, name: str) -> _Distribution | None:
    """Of all series of a histogram together; None where nothing was added."""
    totals: dict[float, float] = defaultdict(float)
    added = off = 0.0
    for series, value in after.values.items():
        earlier = before.values.get(series, 0.0)
        if series.name == f"{name}_bucket":
            try:
                totals[float(dict(series.labels)["le"])] += value - earlier
            except (KeyError, ValueError):
                continue
        elif series.name == f"{name}_sum":
            added += value - earlier
            off += _rounding(value) + _rounding(earlier)
    passed, buckets = 0.0, []
    for bound in sorted(totals):
        buckets.append((bound, max(0.0, totals[bound] - passed)))
        passed = totals[bound]
    if passed <= 0:
        return None
    return _Distribution(tuple(buckets), added / passed if off <= _MOST_OFF * added else None)


def _rounding(value: float) -> float:
    """How far off a number may be that was written with six digits; one with more was written whole."""
    if not value or float(f"{value:.{_DIGITS}g}") != value or value < 10**_DIGITS:
        return 0.0
    return float(10 ** (math.floor(math.log10(value)) + 1 - _DIGITS)) / 2


def _times(found: _Distribution | None) -> dict[str, float | None] | None:
    """Milliseconds of a histogram of microseconds."""
    if found is None:
        return None
    figures = {"mean": found.mean, **{f"p{percent}": found.percentile(percent) for percent in _PERCENTILES}}
    return {name: None if value is None else round(value / _MICROSECONDS_IN_MS, 4) for name, value in figures.items()}


def _sizes(found: _Distribution | None) -> dict[str, Any] | None:
    """A bound is the first size that is beyond its bucket. Buckets without a whole size in them are left out."""
    if found is None:
        return None
    histogram: list[tuple[int | None, int]] = []
    last, largest = max(place for place, (_, count) in enumerate(found.buckets) if count), 0
    for bound, count in found.buckets[: last + 1]:
        size = math.ceil(bound) - 1 if math.isfinite(bound) else None
        if size is None or size > largest:
            histogram.append((size, round(count)))
            largest = size or largest
    return {"mean": found.mean and round(found.mean, 4), "histogram": [list(pair) for pair in histogram]}
