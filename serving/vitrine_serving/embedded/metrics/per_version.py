"""Metrics that TensorFlow Serving does not have: by version and signature, and of the process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from vitrine_serving.embedded.errors import Code
from vitrine_serving.embedded.metrics.instruments import (
    Collected,
    Counter,
    CounterCell,
    Histogram,
    HistogramCell,
    Labels,
    Metric,
    Number,
)
from vitrine_serving.embedded.metrics.label_limit import OTHER, LabelLimit
from vitrine_serving.embedded.metrics.process import process_metrics

# Model name, version and the state's name, such as AVAILABLE.
VersionStates = Callable[[], Iterable[tuple[str, int, str]]]

_RequestKey = tuple[str, int | None, str, str, Code]
_RequestCells = tuple[CounterCell, HistogramCell | None]

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class PerVersionMetrics:
    """The instruments `ServerMetrics` adds when asked for metrics by version."""

    def __init__(self, version_states: VersionStates) -> None:
        request = ("model_name", "version", "signature_name", "entrypoint")
        self._count = Counter(
            "vitrine_request_count", *request, "status", description="Requests answered, failed ones included"
        )
        self._latency = Histogram(
            "vitrine_request_latency_seconds",
            *request,
            bounds=_SECONDS,
            description="Time from a request's arrival to its answer, in seconds; successful requests only",
        )
        self._in_flight = Counter(
            "vitrine_requests_in_flight", "entrypoint", kind="gauge", description="Requests being answered"
        )
        self._loads = Counter(
            "vitrine_loads_total", "model_name", "version", "status", description="Attempts to load a version"
        )
        self._states = Collected(
            "vitrine_model_version_state",
            "model_name",
            "version",
            "state",
            collect=lambda: _states(version_states()),
            description="1 for the state that a version is in",
        )
        self._limit = LabelLimit()
        self._cells: dict[_RequestKey, _RequestCells] = {}

    def request_started(self, entrypoint: str) -> None:
        self._in_flight.cell(entrypoint).add(1)

    def request_finished(
        self, model_name: str, version: int | None, signature_name: str, entrypoint: str, status: Code, seconds: float
    ) -> None:
        self._in_flight.cell(entrypoint).add(-1)
        key = (model_name, version, signature_name, entrypoint, status)
        count, latency = self._cells.get(key) or self._make_cells(key)
        count.add()
        if latency is not None:
            latency.observe(seconds)

    def load_finished(self, model_name: str, version: int, status: str) -> None:
        self._loads.cell(model_name, str(version), status).add()

    def __iter__(self) -> Iterator[Metric]:
        ours: list[Metric] = [self._count, self._latency, self._in_flight, self._loads, self._states]
        return iter(sorted([*ours, *process_metrics()], key=lambda metric: metric.name))

    def _make_cells(self, key: _RequestKey) -> _RequestCells:
        model_name, version, signature_name, entrypoint, status = key
        ok = status == Code.OK
        labels = (model_name, "" if version is None else str(version), signature_name)
        admitted = self._limit.admits(labels, vouched=ok)
        if not admitted:
            labels = (OTHER, "", "")
        cells = (
            self._count.cell(*labels, entrypoint, Code(status).name),
            self._latency.cell(*labels, entrypoint) if ok else None,
        )
        if admitted:
            self._cells[key] = cells
        return cells


def _states(states: Iterable[tuple[str, int, str]]) -> Iterator[tuple[Labels, Number]]:
    for model_name, version, state in states:
        yield (model_name, str(version), state), 1
