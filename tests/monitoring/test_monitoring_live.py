"""Rules and dashboard with what a real Prometheus has from a real server, and with a server that is killed."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from browser import Browser, chromium
from dashboard_page import dashboard_page
from dashboards import dashboard, panels, queries
from processes import wait_until
from prometheus_server import MONITORING, Prometheus

# By panel and query: why there is nothing here.
_IN_GRAPH = "the embedded server cannot see into in-graph batches"
NO_DATA = {
    ("Time in queue", "C"): _IN_GRAPH,
    ("Batch size", "B"): _IN_GRAPH,
    ("CPU", "B"): "there is no cAdvisor",
}
SHOWN_SECONDS = 20
# Every panel as it is seen. One that is cut is larger inside than outside.
SHOWN = """
[...document.querySelectorAll('section')].map(one => ({
  title: one.dataset.title, state: one.dataset.state, text: one.innerText,
  cut: one.scrollWidth > one.clientWidth + 1 || one.scrollHeight > one.clientHeight + 1,
}))
"""
NOT_RECORDED = {"model:in_graph_queue_seconds:p99_2m": _IN_GRAPH}


def shown_queries() -> Iterator[tuple[tuple[str, str], str]]:
    for panel in panels():
        for target, query in queries(panel):
            yield (panel["title"], target["refId"]), query


def records() -> list[str]:
    rules = yaml.safe_load((MONITORING / "prometheus" / "rules" / "recording.yml").read_text())
    return [rule["record"] for group in rules["groups"] for rule in group["rules"]]


def firing(prometheus: Prometheus) -> dict[str, str]:
    """The state of the alerts that are pending or firing, by name; firing where some are the one, some the other."""
    alerts = prometheus.get("alerts")["alerts"]
    return {
        alert["labels"]["alertname"]: alert["state"]
        for alert in sorted(alerts, key=lambda one: one["state"] == "firing")
    }


@pytest.fixture(scope="module")
def prometheus(watched) -> Prometheus:
    """Once all its series are there that can be, or long enough for the tests to say which are not."""
    expected = [query for place, query in shown_queries() if place not in NO_DATA]
    deadline = time.monotonic() + 40
    while expected and time.monotonic() < deadline:
        expected = [query for query in expected if not watched.prometheus.query(query)]
        time.sleep(0.2)
    return watched.prometheus


@pytest.mark.parametrize(
    ("place", "query"), list(shown_queries()), ids=lambda value: " ".join(value) if isinstance(value, tuple) else ""
)
def test_a_panel_s_query_gives_data(prometheus, place, query):
    found = prometheus.query(query)
    assert bool(found) == (place not in NO_DATA), f"{query}\n{found}"
    assert [one["value"] for one in found if one["value"][1] in ("NaN", "+Inf")] == []


def test_variables_have_values(prometheus, watched):
    """Grafana's label_values(selector, label) asks Prometheus for a label's values so."""
    values = {}
    for variable in dashboard()["templating"]["list"][1:]:
        selector, label = re.fullmatch(r"label_values\((.+),\s*(\w+)\)", variable["query"]["query"]).groups()
        values[variable["name"]] = prometheus.get(f"label/{label}/values", **{"match[]": selector})
    assert values == {"model_name": ["flowers"], "instance": [watched.server.url.removeprefix("http://")]}


@pytest.mark.parametrize("name", records())
def test_a_record_is_made(prometheus, name):
    assert bool(prometheus.query(name)) == (name not in NOT_RECORDED)


def test_rules_are_evaluated_without_errors(prometheus):
    assert {(rule["name"], rule["health"], rule.get("lastError")) for rule in prometheus.rules().values()} == {
        (name, "ok", None) for name in prometheus.rules()
    }


def test_numbers_agree(prometheus):
    """Two ways to the same: the share of all versions is everything, and both counts of requests agree."""
    [share] = prometheus.query("sum by (model_name) (version:traffic_share:rate2m)")
    assert share["metric"] == {"model_name": "flowers"}
    assert float(share["value"][1]) == pytest.approx(1)
    # What was counted, not its rate: that is reckoned from each series' own first sample.
    [by_version] = prometheus.query(
        'sum(vitrine_request_count{signature_name!=""} or vitrine_request_count{status!="OK"})'
    )
    [by_model] = prometheus.query(
        'sum(:tensorflow:serving:request_latency_count{API!=""} or :tensorflow:serving:request_count{status!="OK"})'
    )
    # A request may end between the writing of the one and of the other.
    assert float(by_version["value"][1]) == pytest.approx(float(by_model["value"][1]), rel=0.05, abs=5)
    versions = {one["metric"]["version"] for one in prometheus.query("version:latency_seconds:p99_2m")}
    assert versions == {"1", "2"}


def test_probes_tell_an_available_version_from_one_that_failed(prometheus):
    states = {one["metric"]["version"]: one["value"][1] for one in prometheus.query("probe_success")}
    assert states == {"1": "1", "3": "0"}


def test_alerts_about_the_broken_version_and_nothing_else(prometheus):
    expected = {"VitrineNoAvailableVersion", "VitrineLoadFailed", "VitrineRequestsRefused"}
    wait_until(
        lambda: expected <= {name for name, state in firing(prometheus).items() if state == "firing"},
        f"alerts: {', '.join(expected)}",
    )
    alerts = {alert["labels"]["alertname"]: alert for alert in prometheus.get("alerts")["alerts"]}
    assert alerts["VitrineRequestsRefused"]["annotations"]["summary"].endswith("a second before it knows their model")
    # These two may come while the machine is busy, and wait five minutes before they fire.
    assert set(alerts) - {"VitrineLatencyHigh", "VitrineQueueTimeHigh"} == expected
    assert alerts["VitrineNoAvailableVersion"]["annotations"]["summary"] == "Model flowers version 3 is not AVAILABLE"
    assert alerts["VitrineLoadFailed"]["annotations"]["summary"].endswith("/models/3")
    for alert in alerts.values():
        texts = " ".join(alert["annotations"].values())
        assert "error expanding" not in texts and "no value" not in texts and "{{" not in texts


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


def seen(browser: Browser, folder: Path, html: str) -> list[dict[str, Any]]:
    """The panels as they are shown; `folder` keeps the page and a picture of it, to be looked at."""
    (folder / "dashboard.html").write_text(html)
    page = browser.open(folder / "dashboard.html", width=1600, height=2300)
    shown = page.evaluate(SHOWN)
    picture = page.call("Page.captureScreenshot", {"captureBeyondViewport": True})["data"]
    (folder / "dashboard.png").write_bytes(base64.b64decode(picture))
    assert page.problems == []
    assert [one["title"] for one in shown] == [panel["title"] for panel in panels()]
    assert [one["title"] for one in shown if one["cut"]] == []
    return shown


def test_the_dashboard_in_a_browser(prometheus, browser, tmp_path):
    enough = f"count_over_time(model:latency_seconds:p99_2m[{SHOWN_SECONDS}s]) > {SHOWN_SECONDS // 2}"
    wait_until(lambda: prometheus.query(enough), "lines that are long enough to be seen")
    now = time.time()
    shown = seen(browser, tmp_path, dashboard_page(prometheus, now - SHOWN_SECONDS, now))
    assert [one["title"] for one in shown if one["state"] != "data"] == []
    texts = {one["title"]: one["text"] for one in shown}
    assert "NOT AVAILABLE" in texts["Pinned versions"] and "UP" in texts["Servers"]
    assert "flowers version 1" in texts["Slowest of 100 requests (p99), by version"]
    assert "FAILED" in texts["Attempts to load"] and "VitrineLoadFailed" in texts["Alerts"]


def test_panels_without_data_say_why(prometheus, browser, tmp_path):
    """What Grafana shows before the first request, or of a server without these metrics."""
    for one, panel in zip(seen(browser, tmp_path, dashboard_page(prometheus, 0.0, 1.0)), panels(), strict=True):
        assert one["state"] == "empty"
        assert one["text"].split("\n")[-1] == panel["fieldConfig"]["defaults"]["noValue"]


def test_a_killed_server_is_noticed(prometheus, watched):
    """The last one: nothing answers after it."""
    before = firing(prometheus)
    assert "VitrineServerDown" not in before
    watched.server.process.kill()
    wait_until(lambda: firing(prometheus).get("VitrineServerDown") == "firing", "the alert that the server is down")

    def lost() -> bool:
        alerts = prometheus.get("alerts")["alerts"]
        versions = {
            alert["labels"]["version"]
            for alert in alerts
            if (alert["labels"]["alertname"], alert["state"]) == ("VitrineNoAvailableVersion", "firing")
        }
        return versions == {"1", "3"}

    wait_until(lost, "the alerts that no version is available")
