"""Real traffic to both versions, as a real Prometheus has counted it on the servers' own metrics."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from embedded_server import MODEL, ModelServer
from processes import free_port, wait_until
from rollout_versions import Network, client_of, picture, publish, serving

from vitrine_client import VitrineError
from vitrine_serving.config.monitoring import METRICS_PATH
from vitrine_serving.errors import CommandError
from vitrine_serving.rollout.evidence import Traffic
from vitrine_serving.rollout.judging.prometheus import read_traffic, traffic_evidence

STABLE, CANARY = 1, 2
WINDOW_SECONDS = 600
RED, BLUE = picture((200, 40, 30)), picture((10, 50, 220))


@dataclass(frozen=True)
class Watched:
    """Two servers, the canary failing for blue pictures, and the address of the Prometheus that scrapes them."""

    address: str
    stable: ModelServer
    canary: ModelServer

    def traffic(self) -> tuple[Traffic, Traffic] | None:
        return read_traffic(self.address, _selector(self.stable), _selector(self.canary), WINDOW_SECONDS)

    def wait_for_requests(self, stable: int, canary: int) -> tuple[Traffic, Traffic]:
        """The traffic once so many requests were scraped."""

        def scraped() -> tuple[Traffic, Traffic] | None:
            found = self.traffic()
            enough = found and found[0].requests >= stable and found[1].requests >= canary
            return found if enough else None

        return wait_until(scraped, f"{stable} and {canary} requests are scraped")


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("needs prometheus on the PATH (apt-get install prometheus)")
    store = tmp_path / "models"
    publish(store, STABLE)
    publish(store, CANARY, Network(fails_on="blue"))
    monitoring = tmp_path / "monitoring.config"
    monitoring.write_text(f'prometheus_config {{ enable: true path: "{METRICS_PATH}" }}')
    flag = f"--monitoring_config_file={monitoring}"
    with contextlib.ExitStack() as stack:
        stable = stack.enter_context(serving(store, STABLE, tmp_path / "stable", flag))
        canary = stack.enter_context(serving(store, CANARY, tmp_path / "canary", flag))
        config = tmp_path / "prometheus.yml"
        job = {
            "job_name": "vitrine",
            "metrics_path": METRICS_PATH,
            "static_configs": [{"targets": [_host(stable), _host(canary)]}],
        }
        # JSON is YAML.
        config.write_text(
            json.dumps({"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": [job]})
        )
        address = f"127.0.0.1:{free_port()}"
        command = [
            program,
            f"--config.file={config}",
            f"--storage.tsdb.path={tmp_path / 'data'}",
            f"--web.listen-address={address}",
        ]
        log = stack.enter_context((tmp_path / "prometheus.log").open("wb"))
        process = subprocess.Popen(command, stdout=log, stderr=log)
        stack.callback(process.wait)
        stack.callback(process.kill)
        wait_until(lambda: _ready(f"http://{address}/-/ready"), "Prometheus is ready")
        yield Watched(f"http://{address}", stable, canary)


def _host(server: ModelServer) -> str:
    return server.url.removeprefix("http://")


def _selector(server: ModelServer) -> str:
    return f'instance="{_host(server)}"'


def _ready(url: str) -> bool:
    with contextlib.suppress(requests.ConnectionError):
        return requests.get(url, timeout=30).ok
    return False


def ask(server: ModelServer, version: int, content: bytes, times: int) -> None:
    with client_of(server, version) as client:
        for _ in range(times):
            with contextlib.suppress(VitrineError):
                client.classify([content], check="off")


def test_requests_errors_and_latencies_of_both_tracks_are_counted(watched: Watched) -> None:
    # Nothing was asked yet: no metrics.
    assert watched.traffic() is None
    nothing, note = traffic_evidence(watched.address, _selector(watched.stable), _selector(watched.canary), 60)
    assert nothing is None and "no metrics of these servers in the last 60 s" in note

    ask(watched.stable, STABLE, RED, 20)
    ask(watched.canary, CANARY, RED, 6)
    # The first errors of a server begin a counter: they count, however few scrapes have seen it.
    ask(watched.canary, CANARY, BLUE, 4)
    # A broken picture is the client's fault: a request, and no error.
    ask(watched.canary, CANARY, b"no picture", 3)
    # A question about the version's state is no request for inference.
    for _ in range(30):
        assert watched.stable.get(f"/v1/models/{MODEL}/versions/{STABLE}/metadata").ok
    stable, canary = watched.wait_for_requests(stable=20, canary=13)
    assert (stable.requests, stable.errors) == (20, 0)
    assert (canary.requests, canary.errors) == (13, 4)
    for traffic in (stable, canary):
        assert traffic.p50 is not None and traffic.p99 is not None
        assert 0 < traffic.p50 <= traffic.p99 < 60

    # A counter that grows is counted on.
    ask(watched.stable, STABLE, RED, 10)
    stable, _ = watched.wait_for_requests(stable=30, canary=13)
    evidence, note = traffic_evidence(watched.address, _selector(watched.stable), _selector(watched.canary), 600)
    assert evidence is not None and note == ""
    assert (evidence.source, evidence.canary.errors, evidence.compared) == ("prometheus", 4, 0)

    # A server that was not asked beside one that was: none of its requests, and no latency.
    _, other = read_traffic(watched.address, _selector(watched.stable), 'instance="nowhere"', 600) or (None, None)
    assert other == Traffic(0, 0, None, None)
    with pytest.raises(CommandError, match=r"Prometheus refuses .*HTTP 400.*parse error"):
        read_traffic(watched.address, 'instance="', 'pod="a"', 60)


def test_an_address_without_an_answer_leaves_the_judgement_to_our_own_questions() -> None:
    address = f"http://user:secret@127.0.0.1:{free_port()}"
    with pytest.raises(CommandError, match=r"Prometheus does not answer .*; check the address") as refused:
        read_traffic(address, 'pod="a"', 'pod="b"', 60)
    evidence, note = traffic_evidence(address, 'pod="a"', 'pod="b"', 60)
    assert evidence is None and note.endswith("our own questions alone count")
    assert "secret" not in f"{refused.value}{note}"


def test_another_server_than_prometheus_is_told(showcase: ModelServer) -> None:
    with pytest.raises(CommandError, match=r"Prometheus refuses \(HTTP 404"):
        read_traffic(showcase.url, 'pod="a"', 'pod="b"', 60)


def test_servers_that_cannot_be_told_apart_leave_the_judgement_to_our_own_questions() -> None:
    evidence, note = traffic_evidence("http://prometheus:9090", None, 'pod="b"', 60)
    assert evidence is None and "cannot be told apart" in note
