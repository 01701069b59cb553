"""The server's own figures: of a real server, and of pages as TensorFlow Serving writes them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from client_servers import MODEL, Server, running_server
from client_standins import RestStandin

from vitrine_client.errors import VitrineError
from vitrine_client.load import server_metrics
from vitrine_client.load.server_metrics import NoMetrics, difference, scrape

SERVING = ":tensorflow:serving:"
BATCHING = "max_batch_size { value: 8 } batch_timeout_micros { value: 1000 } num_batch_threads { value: 2 }\n"


def counter(name: str, value: object, **labels: str) -> str:
    told = ",".join(f'{label}="{text}"' for label, text in labels.items())
    return f"{name}{{{told}}} {value}\n"


def histogram(name: str, buckets: dict[str, int], total: object, **labels: str) -> str:
    """Lines of TensorFlow Serving's exporter: cumulative buckets, the sum and the count."""
    lines, seen = [f"# TYPE {name} histogram\n"], 0
    for bound, count in buckets.items():
        seen += count
        lines.append(counter(f"{name}_bucket", seen, **labels, le=bound))
    return "".join([*lines, counter(f"{name}_sum", total, **labels), counter(f"{name}_count", seen, **labels)])


def requests_of(model: str, ok: int, **statuses: int) -> str:
    lines = [f"# TYPE {SERVING}request_count counter\n"]
    for status, count in {"OK": ok, **statuses}.items():
        lines.append(counter(f"{SERVING}request_count", count, model_name=model, status=status))
    return "".join(lines)


def between(standin: RestStandin, before: str, after: str, model: str = "flowers") -> dict:
    standin.body = before.encode()
    earlier = scrape(standin.address, model)
    standin.body = after.encode()
    return difference(earlier, scrape(standin.address, model))


@pytest.fixture(scope="module")
def monitored(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with batches, whose metrics are where many configurations put them."""
    folder = tmp_path_factory.mktemp("monitored")
    (folder / "monitoring.config").write_text('prometheus_config { enable: true, path: "/metrics" }\n')
    (folder / "batching.config").write_text(BATCHING)
    flags = ("monitoring_config_file=monitoring.config", "batching_parameters_file=batching.config")
    files = [f"--{flag.replace('=', f'={folder}/')}" for flag in flags]
    with running_server(server.versions, folder, "--enable_batching", *files) as started:
        yield started


def test_a_real_servers_requests_times_and_batches(monitored: Server, picture: bytes):
    with monitored.client("grpc") as grpc, monitored.client("rest") as rest, monitored.client("grpc", "roses") as other:
        grpc.classify([picture])
        before = scrape(monitored.rest, MODEL)
        for _ in range(4):
            grpc.classify([picture])
            rest.classify([picture] * 3)
        with pytest.raises(VitrineError):
            other.classify([picture])
        with pytest.raises(VitrineError):
            grpc.classify([b"no picture"], check="off")
        after = scrape(monitored.rest, MODEL)
    told = difference(before, after)
    assert told["address"] == monitored.rest
    assert told["statuses"]["OK"] == 8
    assert told["requests"] == 9 == sum(told["statuses"].values())
    assert told["batched_by"] == "server"
    assert sum(count for _, count in told["batch_size"]["histogram"]) == 9
    # Four of one row, four of three, and the bad one.
    assert dict(told["batch_size"]["histogram"]) == {1: 5, 3: 4}
    assert told["batch_size"]["mean"] == pytest.approx(17 / 9, abs=1e-3)
    for name in ("request_ms", "run_ms", "queue_ms"):
        assert 0 < told[name]["p50"] <= told[name]["p90"] <= told[name]["p99"]
        assert told[name]["mean"] > 0
    assert told["run_ms"]["mean"] < told["request_ms"]["mean"]


def test_a_server_that_nobody_asked_is_no_source(monitored: Server):
    before = scrape(monitored.rest, MODEL)
    with pytest.raises(NoMetrics, match=r"no request for 'shapes' .*--rest"):
        difference(before, scrape(monitored.rest, MODEL))


def test_a_real_server_without_metrics(server: Server):
    with pytest.raises(NoMetrics, match=r"HTTP 404 .* --monitoring_config_file"):
        scrape(server.rest, MODEL)


def test_nobody_there(closed_port: int):
    with pytest.raises(NoMetrics, match=rf"localhost:{closed_port} does not answer .*--rest"):
        scrape(f"http://somebody:secret@localhost:{closed_port}", MODEL)


def test_passwords_are_not_told(closed_port: int):
    with pytest.raises(NoMetrics) as raised:
        scrape(f"http://somebody:secret@localhost:{closed_port}", MODEL)
    assert "secret" not in str(raised.value)


def test_a_server_without_time_is_not_waited_for(rest_standin: RestStandin, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(server_metrics, "_SECONDS", 0.2)
    rest_standin.held.clear()
    with pytest.raises(NoMetrics, match="does not answer"):
        scrape(rest_standin.address, MODEL)


def test_a_page_without_end(rest_standin: RestStandin, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(server_metrics, "_MOST_BYTES", 10_000)
    rest_standin.body = requests_of("flowers", 1).encode() + b"# more\n" * 10_000
    with pytest.raises(NoMetrics, match="10,000 bytes"):
        scrape(rest_standin.address, "flowers")


def test_somebody_elses_metrics(rest_standin: RestStandin):
    rest_standin.body = b"process_cpu_seconds_total 12.5\n<html>\n"
    with pytest.raises(NoMetrics, match="none of TensorFlow Serving"):
        scrape(rest_standin.address, "flowers")


def test_only_the_asked_model_counts(rest_standin: RestStandin):
    """A name may have anything in it; the metrics escape it."""
    other = requests_of("flowers, too", 50) + histogram(
        f"{SERVING}request_latency", {"10": 50, "+Inf": 0}, 100, model_name="flowers, too", API="Predict"
    )
    name = r"a\"b\\c, model_name=\"roses"
    told = between(
        rest_standin,
        requests_of(name, 3) + other,
        requests_of(name, 5, INTERNAL=2) + other.replace("50", "90"),
        'a"b\\c, model_name="roses',
    )
    assert (told["requests"], told["statuses"]) == (4, {"INTERNAL": 2, "OK": 2})
    assert told["request_ms"] is None
    assert (told["batched_by"], told["queue_ms"], told["batch_size"]) == (None, None, None)


def test_percentiles_are_those_of_prometheus(rest_standin: RestStandin):
    """Interpolated in a bucket, and of what came in between alone; gRPC and REST together."""
    before = requests_of("flowers", 10) + histogram(
        f"{SERVING}request_latency",
        {"1000": 10, "2000": 0, "4000": 0, "+Inf": 0},
        5000,
        model_name="flowers",
        API="Predict",
    )
    grpc = {"1000": 10, "2000": 40, "4000": 20, "+Inf": 0}
    rest = {"1000": 0, "2000": 10, "4000": 29, "+Inf": 1}
    after = requests_of("flowers", 110) + "".join(
        histogram(f"{SERVING}request_latency", buckets, total, model_name="flowers", API=api)
        for buckets, total, api in ((grpc, 125_000, "Predict"), (rest, 130_000, "predict"))
    )
    told = between(rest_standin, before, after)["request_ms"]
    # 50 from 1 to 2 ms, 49 from 2 to 4 ms, and one beyond, of which nothing more is known.
    assert told == {"mean": 2.5, "p50": 2.0, "p90": pytest.approx(2 + 2 * 40 / 49, abs=1e-4), "p99": 4.0}


def test_sums_of_six_digits_make_no_mean(rest_standin: RestStandin):
    """After a month of work, TensorFlow Serving's sum moves in steps that are larger than a run."""

    def page(requests: int, total: str) -> str:
        return requests_of("flowers", requests) + histogram(
            f"{SERVING}request_latency", {"10000": requests, "+Inf": 0}, total, model_name="flowers", API="Predict"
        )

    rounded = between(rest_standin, page(200_000_000, "1.23456e+12"), page(200_001_000, "1.23457e+12"))
    assert rounded["request_ms"]["mean"] is None
    assert rounded["request_ms"]["p50"] == 5.0
    whole = between(rest_standin, page(200_000_000, "1234560000123"), page(200_001_000, "1234565000123"))
    assert whole["request_ms"]["mean"] == 5.0


def test_batches_in_the_models_graph(rest_standin: RestStandin):
    """Real TensorFlow Serving tells of them by model; a size that equals a bound is in the bucket above it."""
    name = {"model_name": "flowers", "op_name": "batch"}
    sizes = histogram(
        f"{SERVING}batching:batch_size", {"1": 0, "1.5": 4, "2.25": 3, "3.375": 0, "5.0625": 2, "+Inf": 0}, 19, **name
    )
    delays = histogram(
        f"{SERVING}batching:batch_delay_us_v2",
        {"1024": 9, "2048": 9, "+Inf": 0},
        18_000,
        **name,
        processed_batch_size="4",
    )
    told = between(rest_standin, requests_of("flowers", 0), requests_of("flowers", 18) + sizes + delays)
    assert told["batched_by"] == "model"
    assert told["batch_size"] == {
        "mean": pytest.approx(19 / 9, abs=1e-3),
        "histogram": [[1, 4], [2, 3], [3, 0], [5, 2]],
    }
    assert told["queue_ms"] == {
        "mean": 1.0,
        "p50": 1.024,
        "p90": pytest.approx(1.8432),
        "p99": pytest.approx(2.02752, abs=1e-4),
    }


@pytest.mark.parametrize(
    "after",
    [
        pytest.param(requests_of("flowers", 3), id="fewer requests"),
        pytest.param(requests_of("flowers", 90) + counter(":tensorflow:core:graph_runs", 2), id="more requests since"),
    ],
)
def test_a_restart_is_told_instead_of_nonsense(rest_standin: RestStandin, after: str):
    before = requests_of("flowers", 20) + counter(":tensorflow:core:graph_runs", 400)
    with pytest.raises(NoMetrics, match=r"counted backwards: .*restarted"):
        between(rest_standin, before, after)


def test_what_is_no_number_is_passed_over(rest_standin: RestStandin):
    odd = f'{SERVING}request_count{{model_name="flowers",status="OK"}} nan\n{SERVING}request_count{{ 5\n\0\xff{{}} 1\n'
    told = between(rest_standin, requests_of("flowers", 1) + odd, requests_of("flowers", 3) + odd)
    assert told["requests"] == 2


def test_a_servers_folder_is_part_of_its_address(rest_standin: RestStandin):
    rest_standin.body = requests_of("flowers", 1).encode()
    assert (
        scrape(f"http://{rest_standin.address}/behind/", "flowers").address == f"http://{rest_standin.address}/behind"
    )
    assert [path for _, path, _ in rest_standin.asked] == ["/behind/monitoring/prometheus/metrics"]
