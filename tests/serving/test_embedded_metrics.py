"""What is counted, when and under which labels: as TensorFlow Serving counts it."""

from __future__ import annotations

import itertools
import re
import threading
import time

import pytest
from test_embedded_metrics_format import parse, value

from vitrine_serving.embedded.errors import Code, ServingError
from vitrine_serving.embedded.metrics.instruments import Counter, Histogram, exposition
from vitrine_serving.embedded.metrics.server_metrics import ServerMetrics

REQUESTS = ":tensorflow:serving:request_count"
LATENCY = ":tensorflow:serving:request_latency"


def finish(metrics, name="flowers", api="Predict", entrypoint="GRPC", status=Code.OK, seconds=0.002, version=1):
    metrics.request_started(entrypoint)
    metrics.request_finished(name, version, "serving_default", api, entrypoint, status, seconds)


def test_latency_buckets_are_tensorflow_servings():
    metrics = ServerMetrics()
    finish(metrics)
    lines = [line for line in metrics.text().splitlines() if line.startswith(f"{LATENCY}_bucket")]
    assert lines[0] == f'{LATENCY}_bucket{{model_name="flowers",API="Predict",entrypoint="GRPC",le="10"}} 0'
    bounds = [re.search(r'le="(.*)"', line)[1] for line in lines]
    assert bounds[8:12] == ["1102", "1983.59", "3570.47", "6426.84"]
    assert bounds[19:22] == ["708235", "1.27482e+06", "2.29468e+06"]
    assert bounds[-2:] == ["1.47476e+09", "+Inf"]
    assert len(bounds) == 34


def test_failures_are_counted_and_only_successes_timed():
    metrics = ServerMetrics()
    finish(metrics, seconds=0.002)
    finish(metrics, seconds=0.003)
    finish(metrics, status=Code.INVALID_ARGUMENT)
    samples = parse(metrics.text())
    assert value(samples, REQUESTS, model_name="flowers", status="OK") == 2
    assert value(samples, REQUESTS, model_name="flowers", status="INVALID_ARGUMENT") == 1
    labels = {"model_name": "flowers", "API": "Predict", "entrypoint": "GRPC"}
    assert value(samples, f"{LATENCY}_count", **labels) == 2
    assert value(samples, f"{LATENCY}_sum", **labels) == 5000


@pytest.mark.parametrize(
    ("api", "entrypoint", "label"),
    [
        ("Classify", "GRPC", "Classify"),
        ("Regress", "REST", "regress"),
        ("GetModelStatus", "REST", ""),
        ("GetModelMetadata", "REST", ""),
        ("GetModelMetadata", "GRPC", None),
        ("MultiInference", "GRPC", None),
    ],
)
def test_api_label_is_the_transports(api, entrypoint, label):
    metrics = ServerMetrics()
    finish(metrics, api=api, entrypoint=entrypoint)
    samples = parse(metrics.text())
    counted = value(samples, REQUESTS, model_name="flowers", status="OK")
    timed = value(samples, f"{LATENCY}_count", model_name="flowers", API=label or "", entrypoint=entrypoint)
    assert (counted, timed) == ((None, None) if label is None else (1, 1))


def test_a_run_its_graph_and_its_examples():
    metrics = ServerMetrics()
    metrics.run_finished("flowers", "Regress", 0.0015)
    metrics.run_finished("flowers", "MultiInference", 0.0015)
    metrics.graph_executed(0.001)
    metrics.graph_executed(0.004)
    metrics.examples("flowers", 3)
    samples = parse(metrics.text())
    runs = samples[":tensorflow:serving:runtime_latency_sum"]
    assert runs == {frozenset({("model_name", "flowers"), ("API", "Regress"), ("runtime", "TF1")}): 1500}
    assert value(samples, ":tensorflow:core:graph_runs") == 2
    assert value(samples, ":tensorflow:core:graph_run_time_usecs") == 5000
    assert value(samples, ":tensorflow:core:graph_run_time_usecs_histogram_bucket", le="4000") == 1
    assert value(samples, ":tensorflow:serving:request_example_count_total", model="flowers") == 3
    assert value(samples, ":tensorflow:serving:request_example_counts_bucket", model="flowers", le="4") == 1


def test_batches_appear_with_the_first_one():
    metrics = ServerMetrics()
    session = ":tensorflow:serving:batching_session"
    assert f"{session}:padding_size" not in metrics.text()
    metrics.batch_input(3, tensors=2)
    metrics.batch_executed(batch_size=3, padded_size=8, queue_seconds=[0.0002])
    metrics.batch_expired([0.5, 0.5])
    samples = parse(metrics.text())
    assert value(samples, f"{session}:input_batch_size_count") == 2
    assert value(samples, f"{session}:padding_size_sum", execution_batch_size="8") == 5
    assert value(samples, f"{session}:processed_batch_size_sum") == 8
    assert value(samples, f"{session}:queuing_latency_sum", thread_pool_name="") == 1_000_200
    assert value(samples, f"{session}:wrapped_run_count") == 1


def test_loads_and_warm_ups():
    metrics = ServerMetrics()
    metrics.load_finished("flowers", 1, "/models/flowers/1", False, 0.25)
    metrics.load_finished("flowers", 1, "/models/flowers/1", True, 0.5, {"restore_graph": 0.3, "init_graph": 0.1})
    metrics.warmup_finished("/models/flowers/1", 0.2)
    metrics.warmup_finished("/models/flowers/2", 0.2, ServingError(Code.DATA_LOSS, 'corrupted "record"'))
    samples = parse(metrics.text())
    load, path = ":tensorflow:cc:saved_model:load", "/models/flowers/1"
    assert value(samples, f"{load}_attempt_count", model_path=path, status="success") == 1
    assert value(samples, f"{load}_attempt_count", model_path=path, status="fail") == 1
    assert value(samples, f"{load}_latency", model_path=path) == 750_000
    assert value(samples, f"{load}_latency_by_stage_sum", model_path=path, stage="restore_graph") == 300_000
    warmup = ":tensorflow:serving:model_warmup_latency_sum"
    assert value(samples, warmup, model_path=path, status="OK") == 200_000
    assert value(samples, warmup, model_path="/models/flowers/2", status='DATA_LOSS: corrupted "record"') == 200_000


@pytest.mark.parametrize("per_version", [False, True])
def test_unknown_models_do_not_grow_the_page(per_version):
    metrics = ServerMetrics(per_version)
    for index in range(1500):
        finish(metrics, name=f"unknown-{index}", status=Code.NOT_FOUND, version=index)
    finish(metrics, name="x" * 1000, status=Code.NOT_FOUND)
    finish(metrics, name="known", status=Code.OK)
    finish(metrics, name="known", status=Code.UNAVAILABLE)
    samples = parse(metrics.text())
    assert len(samples[REQUESTS]) == 1003
    assert value(samples, REQUESTS, model_name="other", status="NOT_FOUND") == 501
    assert value(samples, REQUESTS, model_name="known", status="UNAVAILABLE") == 1
    if per_version:
        assert len(samples["vitrine_request_count"]) == 1003
        labels = {"model_name": "other", "version": "", "signature_name": "", "entrypoint": "GRPC"}
        assert value(samples, "vitrine_request_count", **labels, status="NOT_FOUND") == 501


def test_metrics_by_version():
    metrics = ServerMetrics(per_version=True, version_states=lambda: [("flowers", 2, "LOADING")])
    finish(metrics, version=1, seconds=0.03)
    finish(metrics, version=None, status=Code.NOT_FOUND)
    metrics.request_started("REST")
    metrics.load_finished("flowers", 2, "/models/flowers/2", True, 0.5)
    samples = parse(metrics.text())
    labels = {"model_name": "flowers", "version": "1", "signature_name": "serving_default", "entrypoint": "GRPC"}
    assert value(samples, "vitrine_request_count", **labels, status="OK") == 1
    assert value(samples, "vitrine_request_count", **{**labels, "version": ""}, status="NOT_FOUND") == 1
    assert value(samples, "vitrine_request_latency_seconds_sum", **labels) == 0.03
    assert value(samples, "vitrine_requests_in_flight", entrypoint="GRPC") == 0
    assert value(samples, "vitrine_requests_in_flight", entrypoint="REST") == 1
    assert value(samples, "vitrine_model_version_state", model_name="flowers", version="2", state="LOADING") == 1
    assert value(samples, "vitrine_loads_total", model_name="flowers", version="2", status="success") == 1
    for name in ("process_resident_memory_bytes", "process_open_fds", "process_cpu_seconds_total", "process_threads"):
        assert value(samples, name) > 0


def test_only_tensorflow_servings_metrics_by_default():
    metrics = ServerMetrics(version_states=lambda: [("flowers", 2, "LOADING")])
    finish(metrics)
    assert all(name.startswith(":tensorflow:") for name in parse(metrics.text()))


class Interrupted(int):
    """A number whose addition lets other threads run in its midst."""

    def __radd__(self, other):
        time.sleep(0)
        return int(other) + int(self)


def in_threads(work, count=4):
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads


def test_no_count_is_lost_between_threads():
    counter = Counter("count")
    histogram = Histogram("values", bounds=[10])

    def work():
        for _ in range(200):
            counter.cell().add(Interrupted(1))
            histogram.cell().observe(Interrupted(2))

    for thread in in_threads(work):
        thread.join()
    samples = parse(exposition([counter, histogram]))
    assert value(samples, "count") == 800
    assert value(samples, "values_count") == 800
    assert value(samples, "values_sum") == 1600


def test_pages_are_whole_while_requests_come_in():
    metrics = ServerMetrics(per_version=True)
    stop = threading.Event()
    requests = itertools.count()

    def work():
        while not stop.is_set():
            finish(metrics, name=f"model-{next(requests) % 20}")

    threads = in_threads(work)
    pages = [metrics.text() for _ in range(3)]
    stop.set()
    for thread in threads:
        thread.join()
    for page in [*pages, metrics.text()]:
        samples = parse(page)
    assert sum(samples[REQUESTS].values()) == sum(samples["vitrine_request_count"].values()) == next(requests)
    assert value(samples, "vitrine_requests_in_flight", entrypoint="GRPC") == 0
