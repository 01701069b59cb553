"""The provisioned dashboard as data, and its queries as Grafana would send them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_server import MONITORING

DASHBOARD = MONITORING / "grafana" / "dashboards" / "vitrine.json"
# What Grafana puts in, where "All" is chosen.
VARIABLES = {"$model_name": ".*", "$instance": ".*", "$__rate_interval": "1m"}

Json = dict[str, Any]


def dashboard() -> Json:
    return json.loads(DASHBOARD.read_text())


def panels() -> list[Json]:
    """All but the rows' titles, in the order of the page."""
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def queries(panel: Json, variables: Mapping[str, str] = VARIABLES) -> Iterator[tuple[Json, str]]:
    """The panel's targets, each with its query as Prometheus gets it."""
    for target in panel["targets"]:
        query = target["expr"]
        for name, value in variables.items():
            query = query.replace(name, value)
        assert "$" not in query, f"a variable that is not known: {query}"
        yield target, query
