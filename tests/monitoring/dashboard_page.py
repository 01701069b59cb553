"""A stand-in for Grafana, for tests only: the provisioned dashboard with Prometheus' data as one HTML page.

It knows what this dashboard uses and no more: places, titles, units, value mappings, fixed colours, dashes, limits,
legends with the last value, the transformation `organize` and the texts for no data.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

from dashboards import Json, dashboard, queries
from prometheus_server import Prometheus

# Grafana's classic palette.
_PALETTE = ("#73BF69", "#F2CC0C", "#8AB8FF", "#FF780A", "#F2495C", "#5794F2", "#B877D9", "#705DA0")
_CELL, _GAP = 30, 8  # pixels, as in Grafana
_PLOT = (600, 200)  # a drawing's own units
_STYLE = f"""
body {{ margin: 8px; background: #111217; color: #ccccdc; font: 13px sans-serif }}
main {{ display: grid; grid-template-columns: repeat(24, 1fr); grid-auto-rows: {_CELL}px; gap: {_GAP}px }}
section {{ background: #181b1f; border: 1px solid #2a2d33; overflow: auto; display: flex; flex-direction: column }}
section h2 {{ font-size: 14px; margin: 6px 8px; font-weight: 500 }}
h1 {{ font-size: 17px; margin: 4px 0; align-self: end }}
.plot {{ display: flex; flex: 1; min-height: 0; margin: 0 8px }} .plot svg {{ flex: 1; min-width: 0 }}
.axis {{ display: flex; flex-direction: column; justify-content: space-between; text-align: right; margin-right: 6px }}
.axis, .legend, th {{ font-size: 11px }} .legend {{ margin: 4px 8px; width: calc(100% - 16px) }}
.legend td:last-child {{ text-align: right }} table {{ border-collapse: collapse }}
td, th {{ text-align: left; padding: 2px 8px }} .rows {{ width: 100% }} .legend td {{ padding: 0 }}
.stats {{ display: flex; flex: 1; gap: 4px; margin: 4px; flex-wrap: wrap }}
.stats div {{ flex: 1 1 40%; color: #fff; padding: 6px; display: flex; flex-direction: column }}
.stats div {{ justify-content: center }}
.stats b {{ font-size: 19px }} .empty {{ margin: auto; padding: 8px; text-align: center }}
"""


def dashboard_page(prometheus: Prometheus, start: float, end: float) -> str:
    """The whole page, with data from `start` to `end` (seconds since 1970)."""
    boxes = []
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        area = f"grid-area: {place['y'] + 1} / {place['x'] + 1} / span {place['h']} / span {place['w']}"
        if panel["type"] == "row":
            boxes.append(f'<h1 style="{area}">{escape(panel["title"])}</h1>')
            continue
        content = _content(panel, prometheus, start, end)
        no_value = escape(panel["fieldConfig"]["defaults"]["noValue"])
        state = "data" if content else "empty"
        boxes.append(
            f'<section style="{area}" data-state="{state}" data-title="{escape(panel["title"])}">'
            f"<h2>{escape(panel['title'])}</h2>{content or f'<p class=empty>{no_value}</p>'}</section>"
        )
    return (
        f"<!doctype html><meta charset=utf-8><title>Vitrine</title><style>{_STYLE}</style><main>{''.join(boxes)}</main>"
    )


def _content(panel: Json, prometheus: Prometheus, start: float, end: float) -> str:
    """The inside of a panel; empty where there is no data."""
    series = []
    for target, query in queries(panel):
        found = prometheus.query(query, end) if target["instant"] else prometheus.query_range(query, start, end)
        for one in found:
            points = one.get("values") or [one["value"]]
            numbers = [(at, float(text)) for at, text in points if text != "NaN"]
            if numbers:
                series.append((target, one["metric"], numbers))
    draw: dict[str, Callable[..., str]] = {
        "timeseries": _lines, "heatmap": _heatmap, "stat": _stats, "table": _table
    }  # fmt: skip
    return draw[panel["type"]](panel, series, start, end) if series else ""


def _legend(target: Json, labels: Json) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda name: labels.get(name[1], ""), target["legendFormat"]).strip()


def _properties(panel: Json, matcher: str, option: str) -> Json:
    """What the overrides for a query or a column say."""
    return {
        one["id"]: one["value"]
        for override in panel["fieldConfig"]["overrides"]
        if override["matcher"] == {"id": matcher, "options": option}
        for one in override["properties"]
    }


def _lines(panel: Json, series: Sequence[Any], start: float, end: float) -> str:
    defaults = panel["fieldConfig"]["defaults"]
    custom = defaults["custom"]
    width, height = _PLOT
    stacked = custom["stacking"]["mode"] != "none"
    below: dict[float, float] = {}
    curves, rows = [], []
    for number, (target, labels, points) in enumerate(series):
        special = _properties(panel, "byFrameRefID", target["refId"])
        colour = special.get("color", {}).get("fixedColor", _PALETTE[number % len(_PALETTE)])
        dash = ",".join(map(str, special.get("custom.lineStyle", {}).get("dash", [])))
        if stacked:
            points = [(at, value + below.get(at, 0)) for at, value in points]
            below |= dict(points)
        curves.append((points, colour, dash, special.get("custom.lineWidth", custom["lineWidth"])))
        last = _text(panel, series[number][2][-1][1])
        stroke = f'stroke="{colour}" stroke-width=3 stroke-dasharray="{dash}"'
        mark = f'<svg width=16 height=8><path d="M0 4h16" {stroke}/></svg>'
        rows.append(f"<tr><td>{mark} {escape(_legend(target, labels))}<td>{last}")
    top = defaults.get("max") or 1.1 * max(value for points, *_ in curves for _, value in points) or 1
    drawn = []
    for points, colour, dash, thick in curves:
        places = " ".join(
            f"{(at - start) / (end - start) * width:.1f},{height - value / top * height:.1f}" for at, value in points
        )
        drawn.append(
            f'<polyline points="{places}" fill=none stroke="{colour}" stroke-width="{thick}" '
            f'stroke-dasharray="{dash}" vector-effect=non-scaling-stroke />'
        )
    for step in defaults["thresholds"]["steps"][1:]:
        if step["value"] <= top:
            y = height - step["value"] / top * height
            drawn.append(f'<path d="M0 {y}h{width}" stroke="{step["color"]}" stroke-dasharray="4,4" />')
    axis = "".join(f"<span>{_text(panel, top * part)}</span>" for part in (1, 0.5, 0))
    return (
        f'<div class=plot><div class=axis>{axis}</div><svg viewBox="0 0 {width} {height}" preserveAspectRatio=none>'
        f"{''.join(drawn)}</svg></div><table class=legend>{''.join(rows)}</table>"
    )


def _heatmap(panel: Json, series: Sequence[Any], start: float, end: float) -> str:
    """Buckets below and above all values are left out; the brighter, the more."""
    width, height = _PLOT
    cumulative = sorted(((float(labels["le"]), dict(points)) for _, labels, points in series), key=lambda one: one[0])
    counts = [
        (bound, {at: value - lower.get(at, 0) for at, value in points.items()})
        for (bound, points), (_, lower) in zip(cumulative, [(0.0, {}), *cumulative], strict=False)
    ]
    used = [number for number, (_, cells) in enumerate(counts) if max(cells.values()) > 1e-9]
    if not used:
        return ""
    counts = counts[used[0] : used[-1] + 1]
    most = max(max(cells.values()) for _, cells in counts)
    tall = height / len(counts)
    drawn = [
        f'<rect x="{(at - start) / (end - start) * width:.1f}" y="{height - (number + 1) * tall:.1f}" width="11" '
        f'height="{tall:.1f}" fill="#F2CC0C" opacity="{(value / most) ** 0.5:.2f}"/>'
        for number, (_, cells) in enumerate(counts)
        for at, value in cells.items()
        if value > 1e-9
    ]
    unit = {"µs": 1e-6}[panel["options"]["yAxis"]["unit"]]
    axis = "".join(
        f"<span>{_seconds(bound * unit)}</span>" for bound, _ in reversed(counts[:: max(1, len(counts) // 5)])
    )
    return (
        f'<div class=plot><div class=axis>{axis}</div><svg viewBox="0 0 {width} {height}" preserveAspectRatio=none>'
        f"{''.join(drawn)}</svg></div>"
    )


def _stats(panel: Json, series: Sequence[Any], start: float, end: float) -> str:
    boxes = []
    for target, labels, points in series:
        value = points[-1][1]
        steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
        colour = [step["color"] for step in steps if step["value"] is None or value >= step["value"]][-1]
        text, colour = _mapped(panel["fieldConfig"]["defaults"]["mappings"], value) or (_text(panel, value), colour)
        boxes.append(f'<div style="background: {colour}">{escape(_legend(target, labels))}<b>{escape(text)}</b></div>')
    return f"<div class=stats>{''.join(boxes)}</div>"


def _table(panel: Json, series: Sequence[Any], start: float, end: float) -> str:
    [organize] = [one["options"] for one in panel["transformations"] if one["id"] == "organize"]
    rows = [{"Time": points[-1][0], **labels, "Value": points[-1][1]} for _, labels, points in series]
    fields = {name for row in rows for name in row if not organize["excludeByName"].get(name)}
    order = sorted(fields, key=lambda name: (organize["indexByName"].get(name, 99), name))
    heads = [organize["renameByName"].get(name, name) for name in order]
    lines = []
    for row in rows:
        cells = []
        for name, head in zip(order, heads, strict=True):
            value = row.get(name, "")
            text, colour = _mapped(_properties(panel, "byName", head).get("mappings", []), value) or (value, "")
            shown = f"{text:g}" if isinstance(text, float) else text
            cells.append(f'<td style="color: {colour}">{escape(shown)}')
        lines.append("<tr>" + "".join(cells))
    return f"<table class=rows><tr>{''.join(f'<th>{escape(head)}' for head in heads)}{''.join(sorted(lines))}</table>"


def _mapped(mappings: Sequence[Json], value: float | str) -> tuple[str, str] | None:
    key = f"{value:g}" if isinstance(value, float) else value
    return next(
        ((m["options"][key]["text"], m["options"][key]["color"]) for m in mappings if key in m["options"]), None
    )


def _text(panel: Json, value: float) -> str:
    defaults = panel["fieldConfig"]["defaults"]
    shown = {
        "percentunit": lambda: f"{100 * value:.1f}%",
        "s": lambda: _seconds(value),
        "reqps": lambda: f"{value:.3g} req/s",
        "bytes": lambda: f"{value / 2**20:.0f} MiB",
    }.get(defaults["unit"], lambda: f"{value:.3g}")
    return shown()


def _seconds(value: float) -> str:
    return f"{value:.3g} s" if value >= 1 else f"{1e3 * value:.3g} ms" if value >= 1e-3 else f"{1e6 * value:.3g} µs"
