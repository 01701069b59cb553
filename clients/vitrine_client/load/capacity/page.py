"""A search as one page of HTML that loads nothing else and runs nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from vitrine_client.load import charts
from vitrine_client.load import report_parts as parts
from vitrine_client.load.capacity import plot
from vitrine_client.load.capacity.telling import rate_of

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_HEADER = ("trial", "requests/s", "", "requests", "answers/s", "p99 (ms)", "errors (%)", "generator late, p99 (ms)")


def page(result: Mapping[str, Any]) -> str:
    """The page of a result, as `writing.described` has it. Texts from the command line are escaped."""
    title = f"Capacity of {escape(result['settings']['model'])}"
    trials = result["trials"]
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{title}</title><style>{parts.STYLE}{charts.STYLE}{plot.STYLE}</style></head><body>",
            f'<header><p class="eyebrow">Capacity</p><h1>{title}</h1>',
            *_head(result),
            "</header><main><section><h2>Trials</h2>",
            '<p class="note">A full point is a trial that was kept, a cross is one that was missed, and an empty point '
            "one that was missed by the load generator's own delay, which says nothing about the server.</p>",
            plot.scatter("p99", "ms", _points(trials, "p99_ms", 1.0), log=True),
            plot.scatter("Errors", "%", _points(trials, "errors", 100.0), log=False),
            _table(trials),
            "</section><section><h2>Settings</h2>",
            parts.named({"slo": result["slo"], **result["settings"]}),
            "</section></main></body></html>\n",
        ]
    )


def _head(result: Mapping[str, Any]) -> Iterator[str]:
    if result["stopped"]:
        yield f'<p class="callout">{escape(result["stopped"])}</p>'
    found, *confidence = result["told"]
    yield f'<p class="verdict">{escape(found)}</p>'
    yield from (f"<p>{escape(sentence)}</p>" for sentence in confidence)
    yield f'<p class="note">Begun {escape(result["started"])}.</p>'


def _points(trials: Sequence[Mapping[str, Any]], name: str, factor: float) -> list[plot.Point]:
    return [
        plot.Point(
            trial["rate"],
            trial[name] * factor,
            trial["verdict"],
            f"trial {trial['number']}: {rate_of(trial['rate'])}/s, {trial[name] * factor:.4g}, {trial['verdict']}",
        )
        for trial in trials
        if trial[name] is not None
    ]


def _table(trials: Sequence[Mapping[str, Any]]) -> str:
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in _HEADER)
    return parts.scrolled("Trials", f"<thead><tr>{head}</tr></thead><tbody>{''.join(map(_row, trials))}</tbody>")


def _row(trial: Mapping[str, Any]) -> str:
    errors = trial["errors"]
    numbers = (
        trial["requests"],
        trial["answers_per_second"],
        trial["p99_ms"],
        None if errors is None else errors * 100,
        trial["generator_late_ms_p99"],
    )
    cells = "".join(f"<td>{parts.cell(number)}</td>" for number in numbers)
    verdict = f'<td class="{trial["verdict"]}">{trial["verdict"]}</td>'
    return f'<tr><th scope="row">{trial["number"]}</th><td>{rate_of(trial["rate"])}</td>{verdict}{cells}</tr>'
