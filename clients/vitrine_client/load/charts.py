"""Charts for a page that loads nothing: lines over time as SVG, bars by name as a table.

A chart's drawing is stretched to whatever width there is, and its letters are the page's: they stay as large on a
phone. A page needs `STYLE` for them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from html import escape

# Okabe and Ito's order of colours, which colour-blind people tell apart, as dark as white paper needs and as light as
# dark paper does.
STYLE = """
:root { --s0: #0072b2; --s1: #b35a00; --s2: #00795a; --s3: #b8336a; --s4: #6a4fb3; --s5: #5c6675; }
@media (prefers-color-scheme: dark) {
  :root { --s0: #56b4e9; --s1: #f0a63c; --s2: #2fc08f; --s3: #ef7fae; --s4: #b3a0f0; --s5: #a3adbb; }
}
.s0 { --colour: var(--s0) } .s1 { --colour: var(--s1) } .s2 { --colour: var(--s2) }
.s3 { --colour: var(--s3) } .s4 { --colour: var(--s4) } .s5 { --colour: var(--s5) }
figure { margin: 0; padding-top: 20px; }
figcaption { display: flex; flex-wrap: wrap; gap: 2px 16px; align-items: baseline; font-size: .875rem; }
figcaption b { font-size: 1rem; font-weight: 600; }
figcaption i { display: inline-block; width: 18px; margin-right: 6px; vertical-align: middle; }
figcaption i { border-top: 3px solid var(--colour); }
figcaption i.dashed { border-top-style: dashed; }
figcaption i.warm { border-top: 10px solid var(--well); outline: 1px solid var(--line); }
.unit { color: var(--muted); font-weight: 400; }
.plot { position: relative; height: 210px; margin: 12px 18px 26px 56px; font-size: .75rem; color: var(--muted); }
.plot svg { position: absolute; width: 100%; height: 100%; overflow: visible; }
.plot path { fill: none; vector-effect: non-scaling-stroke; stroke: var(--colour); stroke-width: 1.75; }
.plot path { stroke-linecap: round; stroke-linejoin: round; }
.plot path.dashed { stroke-dasharray: 5 4; }
.plot path.grid { stroke: var(--line); stroke-width: 1; }
.plot rect { fill: var(--well); }
.plot span { position: absolute; white-space: nowrap; line-height: 1; font-variant-numeric: tabular-nums; }
.plot .y { right: calc(100% + 8px); transform: translateY(50%); }
.plot .x { top: calc(100% + 8px); transform: translateX(-50%); }
table.bars { width: 100%; margin-top: 8px; }
table.bars th, table.bars td { border: 0; padding: 3px 0; white-space: nowrap; }
table.bars th { min-width: 8.5em; font-weight: 400; white-space: normal; overflow-wrap: anywhere; }
table.bars td.bar { width: 65%; padding: 3px 10px; }
.bar i { display: block; min-width: 1px; height: 14px; border-radius: 3px; background: var(--colour); }
.bar i { print-color-adjust: exact; }
.none { color: var(--muted); margin: 6px 0 0; }
"""

_WIDTH, _HEIGHT = 1000, 200
_COLOURS = 6
_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400)
_DAY = 86400
_MOST_MARKS = 5


def lines(
    title: str,
    unit: str,
    series: Mapping[str, Sequence[float | None]],
    *,
    seconds: int = 1,
    warm_up: float = 0.0,
    log: bool = False,
    dashed: Collection[str] = (),
) -> str:
    """A line for each name, of six at most, from second 0 on; None leaves a gap.

    Args:
        seconds: from each point to the next.
        warm_up: the background of so many seconds at the beginning is another.
        log: the axis is logarithmic, for values that differ by orders of magnitude; those of 0 and less leave gaps.
        dashed: the names of lines that are not whole.
    """
    points = {
        name: [None if value is None or (log and value <= 0) else value for value in values]
        for name, values in series.items()
    }
    values = [value for found in points.values() for value in found if value is not None]
    if not values:
        return _nothing(title, "Nothing was measured.")
    marks = _log_marks(min(values), max(values)) if log else _marks(max(values))
    low, high = marks[0], marks[-1]
    if log:
        marks = _few(marks)
    span = max(1, max(map(len, points.values())) - 1) * seconds

    def x(second: float) -> float:
        return second / span

    def y(value: float) -> float:
        return math.log(value / low) / math.log(high / low) if log else (value - low) / (high - low)

    drawn = [f'<path class="grid" d="M0 {_HEIGHT * (1 - y(mark)):.1f}H{_WIDTH}"/>' for mark in marks]
    if warm_up > 0:
        drawn.insert(0, f'<rect width="{_WIDTH * min(1.0, x(warm_up)):.1f}" height="{_HEIGHT}"/>')
    # Where lines meet, the first is the one to be seen.
    for place, (name, found) in reversed(list(enumerate(points.items()))):
        style = f"s{place % _COLOURS}{' dashed' if name in dashed else ''}"
        drawn.append(f'<path class="{style}" d="{_path(found, seconds, x, y)}"/>')
    labels = [f'<span class="y" style="bottom:{y(mark):.2%}">{number(mark)}</span>' for mark in marks]
    labels += [f'<span class="x" style="left:{x(mark):.2%}">{_time(mark)}</span>' for mark in _time_marks(span)]
    told = escape(_told(title, unit, points, span), quote=True)
    return (
        f"<figure>{_caption(title, unit, points, dashed, warm_up > 0)}"
        f'<div class="plot"><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-label="{told}">{"".join(drawn)}</svg><div aria-hidden="true">{"".join(labels)}</div></div></figure>'
    )


def bars(title: str, unit: str, counts: Sequence[tuple[str, float]], colour: int = 0) -> str:
    """A bar for each name, in the order given, with its value."""
    if not counts:
        return _nothing(title, "None.")
    most = max(value for _, value in counts) or 1.0
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td class="bar" aria-hidden="true">'
        f'<i style="width:{value / most:.2%}"></i></td><td>{number(value)} {escape(unit)}</td></tr>'
        for name, value in counts
    )
    return (
        f'<figure><figcaption><b>{escape(title)}</b></figcaption><table class="bars s{colour}">{rows}</table></figure>'
    )


def number(value: float) -> str:
    """With the digits that mean something, and never in powers of ten."""
    if value and abs(value) < 100 and value != round(value):
        return f"{value:.3g}" if abs(value) >= 0.001 else f"{value:.6f}".rstrip("0").rstrip(".")
    return f"{value:,.0f}"


def _nothing(title: str, why: str) -> str:
    return f'<figure><figcaption><b>{escape(title)}</b></figcaption><p class="none">{why}</p></figure>'


def _caption(title: str, unit: str, names: Collection[str], dashed: Collection[str], warm: bool) -> str:
    parts = [f'<b>{escape(title)} <span class="unit">{escape(unit)}</span></b>']
    if len(names) > 1:
        for place, name in enumerate(names):
            style = f"s{place % _COLOURS}{' dashed' if name in dashed else ''}"
            parts.append(f'<span><i class="{style}"></i>{escape(name)}</span>')
    if warm:
        parts.append('<span><i class="warm"></i>warm-up</span>')
    return f"<figcaption>{''.join(parts)}</figcaption>"


def _path(
    values: Sequence[float | None], seconds: int, x: Callable[[float], float], y: Callable[[float], float]
) -> str:
    parts, drawing = [], False
    for place, value in enumerate(values):
        if value is None:
            drawing = False
            continue
        at = f"{_WIDTH * x(place * seconds):.1f} {_HEIGHT * (1 - y(value)):.1f}"
        # A point alone is a line to itself, which the round ends make a dot.
        parts.append(f"L{at}" if drawing else f"M{at}h0")
        drawing = True
    return "".join(parts)


def _told(title: str, unit: str, series: Mapping[str, Sequence[float | None]], span: float) -> str:
    """The chart in words, for those who do not see it."""
    parts = []
    for name, values in series.items():
        known = [value for value in values if value is not None]
        parts.append(f"{name} {number(min(known))} to {number(max(known))}" if known else f"{name} never")
    return f"{title} in {unit} over {_time(span)}: {', '.join(parts)}"


def _marks(most: float) -> list[float]:
    """From 0 to at least `most`, in round steps."""
    if most <= 0:
        return [0.0, 1.0]
    magnitude = 10 ** math.floor(math.log10(most / _MOST_MARKS))
    step = next(factor * magnitude for factor in (1, 2, 5, 10) if factor * magnitude * _MOST_MARKS >= most)
    return [step * mark for mark in range(math.ceil(most / step) + 1)]


def _log_marks(least: float, most: float) -> list[float]:
    """All of 1, 2 and 5 times a power of ten from at most `least` to at least `most`; two of them or more."""
    powers = range(math.floor(math.log10(least)), math.ceil(math.log10(most)) + 2)
    marks = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
    first = max(place for place, mark in enumerate(marks) if mark <= least)
    last = next(place for place, mark in enumerate(marks) if mark >= most and place > first)
    return marks[first : last + 1]


def _few(marks: Sequence[float]) -> list[float]:
    """The powers of ten, where all would be too many."""
    if len(marks) <= _MOST_MARKS + 2:
        return list(marks)
    return [mark for mark in marks if math.isclose(math.log10(mark), round(math.log10(mark)), abs_tol=1e-9)]


def _time_marks(span: float) -> list[int]:
    step = next((step for step in _STEPS if span / step <= _MOST_MARKS), _DAY * math.ceil(span / _DAY / _MOST_MARKS))
    return list(range(0, int(span) + 1, step))


def _time(seconds: float) -> str:
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= length and seconds % length == 0:
            return f"{seconds / length:g} {unit}"
    return f"{seconds:g} s"
