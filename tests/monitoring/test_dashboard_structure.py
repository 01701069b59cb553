"""The dashboard's file against what Grafana needs, for Grafana shows a wrong one as empty panels, or not at all."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest
import yaml
from dashboards import dashboard, panels, queries
from prometheus_server import MONITORING

ROWS = ["Is it up?", "How fast?", "Which version?", "How full?", "Is the canary worse?"]
TYPES = {"timeseries", "stat", "table", "heatmap", "bargauge"}
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
# Grafana's ids of units.
UNITS = {"none", "short", "percentunit", "reqps", "s", "bytes"}


def by_title(panel: dict[str, Any]) -> str:
    return panel["title"]


def test_the_head():
    head = dashboard()
    assert (head["uid"], head["title"], head["schemaVersion"] >= 39) == ("vitrine", "Vitrine", True)
    # An id of its own would be another dashboard's in another Grafana.
    assert "id" not in head
    variables = {variable["name"]: variable for variable in head["templating"]["list"]}
    assert list(variables) == ["datasource", "model_name", "instance"]
    assert (variables["datasource"]["type"], variables["datasource"]["query"]) == ("datasource", "prometheus")
    for name in ("model_name", "instance"):
        variable = variables[name]
        assert variable["datasource"] == DATASOURCE
        assert (variable["type"], variable["multi"], variable["includeAll"]) == ("query", True, True)
        assert variable["query"]["query"].startswith("label_values(") and variable["query"]["refId"]


def test_rows_ask_the_questions_in_order():
    assert [panel["title"] for panel in dashboard()["panels"] if panel["type"] == "row"] == ROWS


def test_ids_and_titles_are_unique():
    all_panels = dashboard()["panels"]
    for key in ("id", "title"):
        assert len({panel[key] for panel in all_panels}) == len(all_panels)


def test_panels_lie_side_by_side_within_24_columns_and_in_order():
    places = [panel["gridPos"] for panel in dashboard()["panels"]]
    cells = [
        (x, y)
        for place in places
        for x, y in itertools.product(
            range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
        )
    ]
    assert len(cells) == len(set(cells)), "panels overlap"
    assert all(0 <= x < 24 for x, _ in cells)
    # No holes, and the file's order is the page's: the rows would else have other panels in Grafana.
    assert len(cells) == 24 * (1 + max(y for _, y in cells))
    assert places == sorted(places, key=lambda place: (place["y"], place["x"]))


@pytest.mark.parametrize("panel", panels(), ids=by_title)
def test_a_panel_has_all_it_needs(panel):
    assert panel["type"] in TYPES
    assert panel["description"].endswith(".")
    assert panel["datasource"] == DATASOURCE
    defaults = panel["fieldConfig"]["defaults"]
    assert defaults["noValue"], "says nothing where there is no data"
    if panel["type"] == "heatmap":
        assert panel["options"]["yAxis"]["unit"] == "µs"
    elif panel["type"] != "table":
        assert defaults["unit"] in UNITS
        steps = [step["value"] for step in defaults["thresholds"]["steps"]]
        assert steps[0] is None and steps[1:] == sorted(steps[1:])
    if panel["type"] == "timeseries":
        assert panel["options"]["legend"]["showLegend"]


@pytest.mark.parametrize("panel", panels(), ids=by_title)
def test_a_panel_s_queries(panel):
    references = [target["refId"] for target, _ in queries(panel)]
    assert references == sorted(set(references)) != []
    for target, _ in queries(panel):
        assert target["datasource"] == DATASOURCE
        assert target["expr"].strip() == target["expr"] != ""
        assert target["instant"] != target["range"]
        # Over the same window as the shown step, whatever that is; recorded rates have their own.
        assert not re.search(r"\[\d", target["expr"])
    overrides = panel["fieldConfig"]["overrides"]
    named = {one["matcher"]["options"] for one in overrides if one["matcher"]["id"] == "byFrameRefID"}
    assert named <= set(references)


@pytest.mark.parametrize(
    "panel", [one for one in panels() if one["fieldConfig"]["defaults"].get("mappings")], ids=by_title
)
def test_states_are_words_and_not_colours_alone(panel):
    for mapping in panel["fieldConfig"]["defaults"]["mappings"]:
        assert all(option["text"].isupper() for option in mapping["options"].values())


def test_panels_by_version_say_that_tensorflow_serving_has_none():
    of_versions = [
        panel
        for panel in panels()
        if any(re.search(r"\bversion:|vitrine_\w*version", query) for _, query in queries(panel))
    ]
    assert len(of_versions) == 4
    for panel in of_versions:
        assert panel["fieldConfig"]["defaults"]["noValue"].startswith("TensorFlow Serving has no")
        assert "mbedded server" in panel["description"]


def test_grafana_is_told_where_data_and_dashboard_are():
    provisioning = MONITORING / "grafana" / "provisioning"
    [source] = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())["datasources"]
    assert (source["type"], source["url"], source["isDefault"]) == ("prometheus", "http://prometheus:9090", True)
    scraped = yaml.safe_load((MONITORING / "prometheus" / "prometheus.yml").read_text())["global"]["scrape_interval"]
    assert source["jsonData"]["timeInterval"] == scraped
    [provider] = yaml.safe_load((provisioning / "dashboards" / "vitrine.yml").read_text())["providers"]
    assert provider["type"] == "file" and provider["options"]["path"] == "/var/lib/vitrine/dashboards"
