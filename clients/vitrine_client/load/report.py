"""A run's result as one page of HTML that loads nothing else and runs nothing."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from vitrine_client.load import charts
from vitrine_client.load import report_parts as parts
from vitrine_client.load.slo import LATENCIES

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_PERCENTILES = ("p50", "p90", "p99", "p99.9")
# More are not told apart, and make a long run's page large.
_MOST_POINTS = 300
_MOST_LINES = 6
_OTHERS = "others"


def page(result: Mapping[str, Any]) -> str:
    """The page of a result, as `Result.to_json` has it. Texts from the server and the command line are escaped."""
    title = f"Load on {escape(str(result['settings'].get('model', '')))}"
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{title}</title><style>{parts.STYLE}{charts.STYLE}</style></head><body>",
            f'<header><p class="eyebrow">Load test</p><h1>{title}</h1>',
            *_head(result),
            "</header><main>",
            *_objectives(result["slo"]),
            *_section("Requests", _requests(result)),
            *_section("Over time", _over_time(result)),
            *_section("Errors", [_errors_by_kind(result["all"]["errors"])]),
            *_section("The server's own figures", _server(result["server"], result["server_note"])),
            *_section("Settings", [parts.named(result["settings"])]),
            *_section("The load generator", _generator(result["generator"])),
            "</main></body></html>\n",
        ]
    )


def _head(result: Mapping[str, Any]) -> Iterator[str]:
    good, verdict = _verdict(result)
    ended = " It was ended before its time." if result["interrupted"] else ""
    yield f'<p class="verdict {"kept" if good else "missed"}">{verdict}</p>'
    yield (
        f'<p class="note">Begun {escape(result["started"])}; {parts.cell(round(result["seconds"], 1))} s are counted, '
        f"after {parts.cell(round(result['warm_up'], 1))} s of warm-up.{ended}</p>"
    )
    if result["generator"]["note"]:
        yield f'<p class="callout">{escape(result["generator"]["note"])}</p>'
    figures, latency = result["all"], result["all"]["latency_ms"]
    errors = "&ndash;" if figures["error_ratio"] is None else f"{figures['error_ratio'] * 100:.3g} %"
    tiles = {
        "requests": parts.cell(figures["requests"]),
        "answers/s": parts.cell(figures["requests_per_second"]),
        "errors": errors,
    }
    tiles |= {f"{name}, ms": parts.cell(latency[name]) for name in ("p50", "p99", "p99.9")}
    yield '<dl class="figures">'
    yield "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in tiles.items())
    yield "</dl>"


def _verdict(result: Mapping[str, Any]) -> tuple[bool, str]:
    missed, objectives = sum(not one["kept"] for one in result["slo"]), len(result["slo"])
    if objectives:
        return not missed, f"{missed} of {objectives} objectives missed" if missed else "All objectives kept"
    requests, answered = result["all"]["requests"], result["all"]["answered"]
    if not requests:
        return False, "Nothing was asked"
    if answered < requests:
        return False, f"{requests - answered:,} of {requests:,} requests failed"
    return True, f"All {requests:,} requests answered well"


def _section(title: str, content: Iterator[str] | Sequence[str]) -> Iterator[str]:
    yield f"<section><h2>{title}</h2>"
    yield from content
    yield "</section>"


def _objectives(objectives: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if not objectives:
        return
    rows = "".join(
        f'<tr><th scope="row">{escape(one["text"])}</th><td>{escape(one["told"])}</td>'
        f'<td class="{word}">{mark} {word}</td></tr>'
        for one in objectives
        for mark, word in [("✓", "kept") if one["kept"] else ("✗", "missed")]
    )
    head = "<tr><th>objective</th><th>measured</th><th></th></tr>"
    yield from _section("Objectives", [parts.scrolled("Objectives", f"<thead>{head}</thead><tbody>{rows}</tbody>")])


def _requests(result: Mapping[str, Any]) -> Iterator[str]:
    rows = {"all": result["all"]}
    if len(result["transports"]) > 1:
        rows |= result["transports"]
    yield parts.table(
        "Requests by transport",
        ["", "requests", "errors", "answers/s", *(f"{name} ms" for name in LATENCIES)],
        [
            [
                *(name, row["requests"], row["requests"] - row["answered"], row["requests_per_second"]),
                *(row["latency_ms"][latency] for latency in LATENCIES),
            ]
            for name, row in rows.items()
        ],
    )
    is_closed = result["settings"].get("arrivals", "closed") == "closed"
    since = "when a request was sent" if is_closed else "when a request was due, sent or not"
    yield f'<p class="note">Latencies are of good answers, from {since}.</p>'


def _over_time(result: Mapping[str, Any]) -> Iterator[str]:
    rows, seconds = _points(result)
    scale: dict[str, Any] = {"seconds": seconds, "warm_up": result["warm_up"]}
    throughput = {"answered": [row["answered"] for row in rows]}
    if any(row["offered"] is not None for row in rows):
        throughput["offered"] = [row["offered"] for row in rows]
    yield '<p class="note">A request belongs to the second in which it was due.'
    if seconds > 1:
        yield (
            f"Each point stands for {seconds} s: rates and users are means of its seconds, percentiles those of the "
            "worst second. All seconds are in timeline.csv."
        )
    yield "</p>"
    yield charts.lines("Throughput", "requests/s", throughput, dashed=["offered"], **scale)
    latencies = {name: [row[name] for row in rows] for name in _PERCENTILES}
    yield charts.lines("Latency", "ms, logarithmic", latencies, log=True, **scale)
    kinds = Counter[str]()
    for row in rows:
        kinds.update(row["errors"])
    if kinds:
        yield charts.lines("Errors", "requests/s", _errors(rows, kinds), **scale)
    yield charts.lines("Users", "at once", {"users": [row["users"] for row in rows]}, **scale)


def _errors(rows: Sequence[Mapping[str, Any]], kinds: Counter[str]) -> dict[str, list[float | None]]:
    told = [kind for kind, _ in kinds.most_common(_MOST_LINES if len(kinds) <= _MOST_LINES else _MOST_LINES - 1)]
    found: dict[str, list[float | None]] = {kind: [row["errors"].get(kind, 0) for row in rows] for kind in told}
    if len(told) < len(kinds):
        found[_OTHERS] = [sum(n for kind, n in row["errors"].items() if kind not in found) for row in rows]
    return found


def _errors_by_kind(errors: Mapping[str, int]) -> str:
    if not errors:
        return '<p class="none">No request failed after the warm-up.</p>'
    return charts.bars("By kind, after the warm-up", "requests", list(errors.items()), colour=3)


def _points(result: Mapping[str, Any]) -> tuple[list[dict[str, Any]], int]:
    """The timeline in at most 300 rows, and how many seconds each has. A last second that was cut short is left out."""
    timeline = result["timeline"]
    whole = int(result["warm_up"] + result["seconds"] + 0.05)
    timeline = timeline[: max(1, whole)]
    seconds = max(1, math.ceil(len(timeline) / _MOST_POINTS))
    return [_point(timeline[first : first + seconds]) for first in range(0, len(timeline), seconds)], seconds


def _point(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    errors = Counter[str]()
    for row in rows:
        errors.update(row["errors"])
    offered = [row["offered"] for row in rows if row["offered"] is not None]
    return {
        "answered": sum(row["answered"] for row in rows) / len(rows),
        "offered": sum(offered) / len(offered) if offered else None,
        "users": sum(row["users"] for row in rows) / len(rows),
        "errors": {kind: count / len(rows) for kind, count in errors.items()},
        **{name: max((row[name] for row in rows if row[name] is not None), default=None) for name in _PERCENTILES},
    }


def _server(server: Mapping[str, Any] | None, note: str) -> Iterator[str]:
    if server is None:
        yield f'<p class="none">{escape(note or "None were asked for.")}</p>'
        return
    failed = {name: count for name, count in server["statuses"].items() if name != "OK"}
    others = "".join(f", {count:,} of them {escape(name)}" for name, count in failed.items())
    yield (
        f'<p class="note">What {escape(server["address"])} has counted from the run&#x27;s begin to its end, warm-up '
        f"and other clients included: {server['requests']:,} requests for the model{others}. Percentiles are "
        "interpolated in the buckets of its histograms, and as coarse as these.</p>"
    )
    told = {"queue_ms": "queue for a batch", "run_ms": "run, queue included", "request_ms": "whole request"}
    times = {word: server[name] for name, word in told.items() if server[name]}
    columns = ("mean", "p50", "p90", "p99")
    yield parts.table(
        "The server's times", ["ms", *columns], [[word, *map(row.get, columns)] for word, row in times.items()]
    )
    yield charts.bars("Time of a request, p99", "ms", [(word, row["p99"]) for word, row in times.items()], colour=2)
    batches = server["batch_size"]
    if batches is None:
        yield '<p class="none">It tells of no batches: it has none of its own, or cannot see those in the model.</p>'
        return
    mean = "" if batches["mean"] is None else f", {charts.number(batches['mean'])} rows on average"
    whose = "of all the server's models" if server["batched_by"] == "server" else "in the model's graph"
    yield charts.bars(f"Batches by rows, {whose}{mean}", "batches", list(_batches(batches["histogram"])))


def _batches(histogram: Sequence[Sequence[int | None]]) -> Iterator[tuple[str, float]]:
    """From the first size that there was, by range of rows."""
    before, begun = 0, False
    for size, count in histogram:
        begun = begun or bool(count)
        if begun:
            least = before + 1
            name = f"{least:,} or more" if size is None else str(size) if size <= least else f"{least:,} to {size:,}"
            yield name, count or 0
        before = size or before


def _generator(generator: Mapping[str, Any]) -> Iterator[str]:
    late = generator["late_ms_p99"]
    yield parts.named(
        {
            "processes with users": generator["workers"],
            "sent late, p99": None if late is None else f"{charts.number(late)} ms",
            "not sent": generator["dropped"],
        }
    )
