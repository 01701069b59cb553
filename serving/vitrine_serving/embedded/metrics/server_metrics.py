"""What the server counts and measures, for every thread to call and Prometheus to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from vitrine_serving.embedded.errors import Code, ServingError
from vitrine_serving.embedded.metrics.instruments import CounterCell, HistogramCell, exposition
from vitrine_serving.embedded.metrics.label_limit import OTHER, LabelLimit
from vitrine_serving.embedded.metrics.names import TensorflowServingMetrics
from vitrine_serving.embedded.metrics.per_version import PerVersionMetrics, VersionStates

Api = Literal["Predict", "Classify", "Regress", "MultiInference", "GetModelMetadata", "GetModelStatus"]
Entrypoint = Literal["GRPC", "REST"]

# TensorFlow Serving measures these three on gRPC and calls them in lower case on REST. What else comes by
# gRPC it does not count; what else comes by REST it counts under an empty name.
_MEASURED_APIS = frozenset({"Predict", "Classify", "Regress"})
_RUNTIME = "TF1"  # The label of TensorFlow's session, the only runtime here.

_RequestCells = tuple[CounterCell | None, HistogramCell | None]


class ServerMetrics:
    """TensorFlow Serving's metrics and, with `per_version`, ours by version; safe to call from any thread.

    `version_states` lists every known version's model name, number and state whenever the page is made. Of
    model names that no request succeeded with, the first 1000 are told apart and the rest counted as `other`.
    """

    def __init__(self, per_version: bool = False, version_states: VersionStates = lambda: ()) -> None:
        self._metrics = TensorflowServingMetrics()
        self._per_version = PerVersionMetrics(version_states) if per_version else None
        self._limit = LabelLimit()
        self._request_cells: dict[tuple[str, str, str, Code], _RequestCells] = {}
        self._run_cells: dict[tuple[str, str], HistogramCell] = {}
        self._graph_run_time = self._metrics.graph_run_time.cell()

    def request_started(self, entrypoint: Entrypoint) -> None:
        """A request arrived. Each `request_finished` must have been preceded by one of these."""
        if self._per_version is not None:
            self._per_version.request_started(entrypoint)

    def request_finished(
        self,
        model_name: str,
        version: int | None,
        signature_name: str,
        api: Api,
        entrypoint: Entrypoint,
        status: Code,
        seconds: float,
    ) -> None:
        """A request was answered with `status` after `seconds`.

        `model_name` is as the client gave it (empty: unreadable request); `version` is the one that answered
        or was asked for by number, if any.
        """
        key = (model_name, api, entrypoint, status)
        count, latency = self._request_cells.get(key) or self._make_request_cells(key)
        if count is not None:
            count.add()
        if latency is not None:
            latency.observe(_microseconds(seconds))
        if self._per_version is not None:
            self._per_version.request_finished(model_name, version, signature_name, entrypoint, status, seconds)

    def run_finished(self, model_name: str, api: Api, seconds: float) -> None:
        """A request's run of the model succeeded: its wait for a batch is part of `seconds`."""
        if api not in _MEASURED_APIS:
            return
        key = (model_name, api)
        cell = self._run_cells.get(key)
        if cell is None:
            cell = self._run_cells[key] = self._metrics.runtime_latency.cell(model_name, api, _RUNTIME)
        cell.observe(_microseconds(seconds))

    def graph_executed(self, seconds: float) -> None:
        """TensorFlow's session ran a graph successfully: once for a batch, not for each request in it."""
        self._graph_run_time.observe(_microseconds(seconds))

    def examples(self, model_name: str, count: int) -> None:
        """A MultiInference request's run succeeded on `count` examples (no other API counts them)."""
        self._metrics.request_example_counts.cell(model_name).observe(count)
        self._metrics.request_example_count_total.cell(model_name).add(count)

    def batch_input(self, rows: int, tensors: int = 1) -> None:
        """A request with `tensors` inputs of `rows` rows each is about to join the queue for a batch."""
        cell = self._metrics.batch_input_rows.cell()
        for _ in range(tensors):
            cell.observe(rows)

    def batch_executed(self, batch_size: int, padded_size: int, queue_seconds: Sequence[float]) -> None:
        """A batch of `batch_size` rows ran as `padded_size`, well or not; each of its tasks had waited so long."""
        self.batch_expired(queue_seconds)
        self._metrics.batch_padding_rows.cell(str(padded_size)).observe(padded_size - batch_size)
        self._metrics.batch_processed_rows.cell().observe(padded_size)
        self._metrics.batch_runs.cell().add()

    def batch_expired(self, queue_seconds: Sequence[float]) -> None:
        """A batch was dropped, for all of its tasks had waited past their deadlines."""
        # The real server's batching session does not know its thread pool's name either.
        cell = self._metrics.batch_queuing_latency.cell("")
        for seconds in queue_seconds:
            cell.observe(_microseconds(seconds))

    def load_finished(
        self,
        model_name: str,
        version: int,
        model_path: str,
        ok: bool,
        seconds: float,
        stage_seconds: Mapping[str, float] | None = None,
    ) -> None:
        """One attempt to load a version from its directory `model_path` ended.

        `stage_seconds` is what `restore_graph` and `init_graph` took of it, where known.
        """
        status = "success" if ok else "fail"
        self._metrics.load_attempt_count.cell(model_path, status).add()
        self._metrics.load_latency.cell(model_path).add(_microseconds(seconds))
        if ok and stage_seconds:
            for stage, stage_time in stage_seconds.items():
                self._metrics.load_latency_by_stage.cell(model_path, stage).observe(_microseconds(stage_time))
        if self._per_version is not None:
            self._per_version.load_finished(model_name, version, status)

    def warmup_finished(self, model_path: str, seconds: float, error: ServingError | None = None) -> None:
        """A version's warm-up file was replayed to its end, or up to where reading it failed with `error`."""
        status = "OK" if error is None else str(error)
        self._metrics.model_warmup_latency.cell(model_path, status).observe(_microseconds(seconds))

    def first_value(self, path: str) -> int:
        """The first number of the counter TensorFlow registers as `path`, like `/tensorflow/core/graph_runs`, or 0."""
        name = path.replace("/", ":")
        lines = (line for metric in self._metrics if metric.name == name for line in metric.lines())
        return next((int(float(line.rpartition(" ")[2])) for line in lines if line.startswith(f"{name}{{")), 0)

    def text(self) -> str:
        """The page for Prometheus, served as `text/plain`."""
        return exposition([*self._metrics, *(self._per_version or ())])

    def _make_request_cells(self, key: tuple[str, str, str, Code]) -> _RequestCells:
        model_name, api, entrypoint, status = key
        if entrypoint == "GRPC" and api not in _MEASURED_APIS:
            return None, None
        ok = status == Code.OK
        admitted = self._limit.admits([model_name], vouched=ok)
        label = model_name if admitted else OTHER
        count = self._metrics.request_count.cell(label, Code(status).name)
        latency = self._metrics.request_latency.cell(label, _api_label(api, entrypoint), entrypoint) if ok else None
        if admitted:
            self._request_cells[key] = (count, latency)
        return count, latency


def _api_label(api: str, entrypoint: str) -> str:
    if entrypoint == "GRPC":
        return api
    return api.lower() if api in _MEASURED_APIS else ""


def _microseconds(seconds: float) -> int:
    return int(seconds * 1e6 + 0.5)
