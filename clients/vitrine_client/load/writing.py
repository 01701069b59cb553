"""A result as files, and as lines on the terminal."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vitrine_client.load.report import page
from vitrine_client.load.results import PERCENTILES, Figures, Result
from vitrine_client.load.slo import LATENCIES

# What a spreadsheet takes for the beginning of a formula.
_FORMULA = ("=", "+", "-", "@")
_MOST_KINDS = 6


def write(result: Result, folder: Path) -> None:
    """`result.json`, `summary.csv`, `timeline.csv` and `report.html`; each is whole or not there.

    Raises:
        OSError: the folder cannot be made or written.
    """
    described = result.to_json()
    folder.mkdir(parents=True, exist_ok=True)
    for name, text_of in (
        ("result.json", _json),
        ("summary.csv", _summary),
        ("timeline.csv", _timeline),
        ("report.html", page),
    ):
        # Half of a pair of surrogates, as a file's name may have it, is no text.
        _write(folder / name, text_of(described).encode("utf-8", "backslashreplace"))


def told(result: Result, folder: Path | None) -> str:
    """Lines for the terminal: figures, errors, objectives, the server's part, and where the files are."""
    rows = {"all": result.figures, **(result.transports if len(result.transports) > 1 else {})}
    lines = ["", *_aligned([_HEADER, *(_figures(name, figures) for name, figures in rows.items())])]
    kinds = result.figures.tally.errors.most_common()
    if kinds:
        more = f" and {len(kinds) - _MOST_KINDS} kinds more" if len(kinds) > _MOST_KINDS else ""
        lines.append("errors: " + ", ".join(f"{kind} {count}" for kind, count in kinds[:_MOST_KINDS]) + more)
    if result.objectives:
        lines.append("objectives:")
        widest = max(len(one.objective.text) for one in result.objectives)
        for one in result.objectives:
            lines.append(f"  {'kept' if one.kept else 'MISSED':<6}  {one.objective.text:<{widest}}  {one.told}")
    lines.append(f"server: {_server(result.server) if result.server else result.server_note}")
    if result.generator["note"]:
        lines.append(f"note: {result.generator['note']}")
    if result.interrupted:
        lines.append(f"ended early: {result.seconds:.1f} s counted after {result.warm_up:g} s of warm-up")
    if folder is not None:
        lines.append(f"report: {folder / 'report.html'}")
    return "\n".join(map(_one_line, lines)) + "\n"


_HEADER = ["", "requests", "errors", "answers/s", *(f"{name} ms" for name in (*PERCENTILES, "max"))]


def _figures(name: str, figures: Figures) -> list[str]:
    latencies = [figures.latency(metric) for metric in (*PERCENTILES, "max")]
    tally = figures.tally
    return [
        name,
        f"{tally.requests:,}",
        "-" if tally.error_ratio is None else f"{tally.error_ratio * 100:.3g} %",
        f"{figures.requests_per_second:,.1f}",
        *("-" if value is None else f"{value * 1000:,.1f}" for value in latencies),
    ]


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """The first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        yield "  ".join([first.ljust(widths[0]), *cells])


def _server(server: Mapping[str, Any]) -> str:
    parts = [f"{server['requests']:,} requests of all its clients"]
    for name, word in (("queue_ms", "queue"), ("run_ms", "run"), ("request_ms", "request")):
        if server[name]:
            parts.append(f"{word} p50 {server[name]['p50']:,.1f} p99 {server[name]['p99']:,.1f} ms")
    batches = server["batch_size"]
    if batches and batches["mean"] is not None:
        parts.append(f"{batches['mean']:.1f} rows a batch")
    return "; ".join(parts)


def _one_line(line: str) -> str:
    """Nothing that a server or a file's name says moves the cursor, or begins a line or a cell of its own."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in line)


def _json(described: Mapping[str, Any]) -> str:
    return json.dumps(described, indent=1) + "\n"


def _summary(described: Mapping[str, Any]) -> str:
    """A row for all requests and one for each transport; those of several runs make a table."""
    rows = {"all": described["all"], **described["transports"]}
    run = [described["started"], described["settings"].get("model")]
    return _csv(
        ["started", "model", "transport", "seconds", "requests", "answered", "errors", "requests_per_second"]
        + [f"{name}_ms" for name in LATENCIES],
        (
            [
                *(*run, name, described["seconds"], row["requests"], row["answered"]),
                *(row["requests"] - row["answered"], row["requests_per_second"]),
                *(row["latency_ms"][latency] for latency in LATENCIES),
            ]
            for name, row in rows.items()
        ),
    )


def _timeline(described: Mapping[str, Any]) -> str:
    """A row for each second; the last columns are kinds of errors."""
    kinds = sorted({kind for row in described["timeline"] for kind in row["errors"]})
    names = ["second", "users", "offered", "requests", "answered"]
    return _csv(
        [*names, *(f"{name}_ms" for name in PERCENTILES), *kinds],
        (
            [*(row[name] for name in (*names, *PERCENTILES)), *(row["errors"].get(kind, 0) for kind in kinds)]
            for row in described["timeline"]
        ),
    )


def _csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in (header, *rows):
        writer.writerow([_cell(cell) for cell in row])
    return text.getvalue()


def _cell(value: Any) -> Any:
    """Text that a spreadsheet shows and does not calculate; numbers with the digits that mean something."""
    if isinstance(value, float):
        return f"{value:.9g}"
    if isinstance(value, str):
        text = _one_line(value)
        return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text
    return value


def _write(path: Path, content: bytes) -> None:
    half = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        half.write_bytes(content)
        half.replace(path)
    except BaseException:
        half.unlink(missing_ok=True)
        raise
