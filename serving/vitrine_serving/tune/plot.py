"""Throughput against latency, one mark for each candidate and concurrency, on a page that loads nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from html import escape

from vitrine_client.load.slo import LATENCIES
from vitrine_serving.tune.candidates import Candidate
from vitrine_serving.tune.outcome import Outcome, Spot
from vitrine_serving.tune.report import FINAL_HEADER, final_rows, summary, verdict

_WIDTH, _HEIGHT = 860, 440
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 24, 24, 48
# Okabe and Ito's, which colour-blind people tell apart.
_COLOURS = {"as exported": "#e69f00", "in-graph": "#0072b2", "server-side": "#009e73"}
_STEPS = (1, 2, 5)
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; max-width: 960px; margin: 2em auto; padding: 0 1em }
h1 { font-size: 1.5em } h2 { font-size: 1.15em; margin-top: 2em }
table { border-collapse: collapse; width: 100% } th, td { padding: .25em .6em; text-align: right }
th:nth-child(-n+2), td:nth-child(-n+2) { text-align: left } tr + tr { border-top: 1px solid #ddd }
figure { margin: 1em 0 } figcaption span { margin-right: 1em }
figcaption i { display: inline-block; width: .8em; height: .8em; margin-right: .3em; border-radius: 50% }
svg { width: 100%; font: 12px system-ui, sans-serif } .g { stroke: #ddd } .c { stroke: #bbb; fill: none }
.slo { stroke: #b03000; stroke-dasharray: 6 4 } .slo-text { fill: #b03000 } .named { font-weight: 600 }
"""


def page(outcome: Outcome) -> str:
    """The plot, the verdict and every candidate as HTML. Whatever a user has named is escaped."""
    final = _table(FINAL_HEADER, final_rows(outcome)) if outcome.finalists else ""
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8"><title>Tuning</title>',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}"><style>{_STYLE}</style></head><body>',
            f"<h1>Tuning {escape(outcome.model)}</h1><p>{escape(summary(outcome))}</p>",
            *(f"<p><strong>{escape(sentence)}</strong></p>" for sentence in verdict(outcome)),
            _figure(outcome),
            f"<h2>The final</h2>{final}" if final else "",
            f"<h2>All candidates</h2>{_table(*_all(outcome))}",
            "</body></html>",
            "",
        ]
    )


def _figure(outcome: Outcome) -> str:
    drawn = {candidate: _drawable(outcome.spots(candidate)) for candidate in outcome.candidates()}
    spots = [spot for found in drawn.values() for spot, _ in found]
    latencies = [latency for found in drawn.values() for _, latency in found]
    if not spots:
        return "<p>Nothing was measured.</p>"
    limits = [
        (one.text, one.limit * 1000)
        for one in outcome.objectives
        if one.metric == outcome.latency and one.metric in LATENCIES and one.limit > 0
    ]
    across = _linear([spot.requests_per_second for spot in spots])
    up = _decades([*latencies, *(limit for _, limit in limits)])

    def x(value: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * value / across[-1]

    def y(value: float) -> float:
        place = math.log(value / up[0]) / math.log(up[-1] / up[0])
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * place

    parts = [*_axes(across, up, x, y, outcome.latency)]
    for text, limit in limits:
        parts.append(
            f'<line class="slo" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(limit):.1f}" y2="{y(limit):.1f}"/>'
            f'<text class="slo-text" x="{_LEFT + 6}" y="{y(limit) - 5:.1f}">{escape(text)}</text>'
        )
    for candidate, found in drawn.items():
        parts += _marks(outcome, candidate, [(spot, x(spot.requests_per_second), y(ms)) for spot, ms in found])
    legend = "".join(f'<span><i style="background:{colour}"></i>{where}</span>' for where, colour in _COLOURS.items())
    title = f"Answers per second against {outcome.latency}"
    return (
        f'<figure><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{title}">{"".join(parts)}</svg>'
        f"<figcaption>{legend}Hollow marks miss the objective; a line joins one candidate's concurrencies."
        "</figcaption></figure>"
    )


def _drawable(spots: Sequence[Spot]) -> list[tuple[Spot, float]]:
    """With their latencies in ms: a logarithm has no place for 0."""
    return [(spot, spot.latency_ms) for spot in spots if spot.latency_ms is not None and spot.latency_ms > 0]


def _marks(outcome: Outcome, candidate: Candidate, places: Sequence[tuple[Spot, float, float]]) -> Iterator[str]:
    colour = _COLOURS[candidate.where]
    if len(places) > 1:
        line = " ".join(f"{x:.1f},{y:.1f}" for _, x, y in places)
        yield f'<polyline class="c" points="{line}"/>'
    names = _names(outcome, candidate)
    for spot, x, y in places:
        told = (
            f"{candidate}; {spot.concurrency} at once: {spot.requests_per_second:.1f}/s, "
            f"{outcome.latency} {spot.latency_ms:.1f} ms"
        )
        fill = colour if spot.kept else "#fff"
        yield (
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{7 if names else 4}" fill="{fill}" stroke="{colour}" '
            f'stroke-width="2"><title>{escape(told)}</title></circle>'
        )
    if names and places:
        _, x, y = places[-1]
        anchor, aside = ("end", -12) if x > _WIDTH / 2 else ("start", 12)
        yield (
            f'<text class="named" x="{x + aside:.1f}" y="{y - 10:.1f}" text-anchor="{anchor}">{", ".join(names)}</text>'
        )


def _names(outcome: Outcome, candidate: Candidate) -> list[str]:
    choice = outcome.choice
    winner = ["winner"] if choice is not None and choice.winner.candidate == candidate else []
    return [*winner, *(["present"] if candidate == outcome.present else [])]


def _axes(
    across: Sequence[float], up: Sequence[float], x: Callable[[float], float], y: Callable[[float], float], latency: str
) -> Iterator[str]:
    for tick in up:
        yield (
            f'<line class="g" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>'
            f'<text x="{_LEFT - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>'
        )
    for tick in across:
        yield (
            f'<line class="g" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>'
            f'<text x="{x(tick):.1f}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">{tick:g}</text>'
        )
    yield f'<text x="6" y="{_TOP - 8}">{latency}, ms</text>'
    yield f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 10}" text-anchor="end">answers per second</text>'


def _linear(values: Sequence[float]) -> list[float]:
    """Round numbers from 0 to beyond the greatest."""
    step = max(values) / 5 or 1.0
    magnitude = 10 ** math.floor(math.log10(step))
    step = next(factor * magnitude for factor in (*_STEPS, 10) if factor * magnitude >= step)
    return [step * tick for tick in range(math.ceil(max(values) / step) + 1 or 2)]


def _decades(values: Sequence[float]) -> list[float]:
    """1, 2, 5, 10 and so on, from below the least to above the greatest."""
    lowest, highest = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    ticks = [step * 10.0**power for power in range(lowest, highest + 1) for step in _STEPS]
    first = max(place for place, tick in enumerate(ticks) if tick <= min(values) * (1 + 1e-9))
    last = min(place for place, tick in enumerate(ticks) if tick >= max(values) * (1 - 1e-9))
    return ticks[first : max(last, first + 1) + 1]


def _all(outcome: Outcome) -> tuple[Sequence[str], list[tuple[str, ...]]]:
    header = ("", "candidate", "at once", "answers/s", f"{outcome.latency}, ms", "objective")
    rows: list[tuple[str, ...]] = []
    for candidate in outcome.candidates():
        name = ", ".join(_names(outcome, candidate))
        failure = outcome.failure(candidate)
        if failure:
            rows.append((name, f"{candidate}: {failure}", "", "", "", "out"))
        for spot in outcome.spots(candidate):
            latency = "-" if spot.latency_ms is None else f"{spot.latency_ms:.1f}"
            kept = "kept" if spot.kept else "missed"
            rows.append((name, str(candidate), str(spot.concurrency), f"{spot.requests_per_second:.1f}", latency, kept))
    return header, rows


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"
