"""TensorFlow Serving's metrics: names, labels and buckets as in version 2.20. Times are in microseconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from vitrine_serving.embedded.metrics.instruments import Collected, Counter, Histogram, Metric, Number, exponential

_LATENCY = exponential(10, 1.8, 33)
_ROWS = exponential(1, 2, 14)


class TensorflowServingMetrics:
    """The instruments, one attribute each. Some of TensorFlow Serving's own get no values here."""

    def __init__(self) -> None:
        self.load_attempt_count = Counter(":tensorflow:cc:saved_model:load_attempt_count", "model_path", "status")
        self.load_latency = Counter(":tensorflow:cc:saved_model:load_latency", "model_path")
        self.load_latency_by_stage = Histogram(
            ":tensorflow:cc:saved_model:load_latency_by_stage", "model_path", "stage", bounds=_LATENCY
        )
        self.graph_run_time = Histogram(
            ":tensorflow:core:graph_run_time_usecs_histogram", bounds=exponential(1000, 2, 20)
        )
        self.batch_input_rows = Histogram(
            ":tensorflow:serving:batching_session:input_batch_size", bounds=_ROWS, hidden_until_used=True
        )
        self.batch_padding_rows = Histogram(
            ":tensorflow:serving:batching_session:padding_size",
            "execution_batch_size",
            bounds=_ROWS,
            hidden_until_used=True,
        )
        self.batch_processed_rows = Histogram(
            ":tensorflow:serving:batching_session:processed_batch_size", bounds=_ROWS, hidden_until_used=True
        )
        self.batch_queuing_latency = Histogram(
            ":tensorflow:serving:batching_session:queuing_latency",
            "thread_pool_name",
            bounds=exponential(100, 1.2, 52),
        )
        self.batch_runs = Counter(":tensorflow:serving:batching_session:wrapped_run_count")
        self.model_warmup_latency = Histogram(
            ":tensorflow:serving:model_warmup_latency", "model_path", "status", bounds=_LATENCY
        )
        self.request_count = Counter(":tensorflow:serving:request_count", "model_name", "status")
        self.request_example_count_total = Counter(":tensorflow:serving:request_example_count_total", "model")
        self.request_example_counts = Histogram(
            ":tensorflow:serving:request_example_counts", "model", bounds=exponential(1, 2, 15)
        )
        self.request_latency = Histogram(
            ":tensorflow:serving:request_latency", "model_name", "API", "entrypoint", bounds=_LATENCY
        )
        self.request_log_count = Counter(":tensorflow:serving:request_log_count", "model_name", "status_code")
        self.runtime_latency = Histogram(
            ":tensorflow:serving:runtime_latency", "model_name", "API", "runtime", bounds=_LATENCY
        )
        # Two counters that say again what the histogram of run times knows.
        self.graph_runs = _total(":tensorflow:core:graph_runs", lambda: sum(self.graph_run_time.cell().read()[0]))
        self.graph_run_time_usecs = _total(
            ":tensorflow:core:graph_run_time_usecs", lambda: self.graph_run_time.cell().read()[1]
        )

    def __iter__(self) -> Iterator[Metric]:
        """By name, the order of TensorFlow Serving's page."""
        return iter(sorted(vars(self).values(), key=lambda metric: metric.name))


def _total(name: str, read: Callable[[], Number]) -> Collected:
    return Collected(name, kind="counter", collect=lambda: [((), read())])
