"""Trials as points: what was measured over the rate, for a page that loads nothing and has the style of charts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from vitrine_client.load import charts

STYLE = """
.plot .point { transform: translate(-50%, 50%); font-size: 1rem; font-weight: 700; cursor: default; }
.point.kept { color: var(--good); } .point.missed { color: var(--bad); } .point.late { color: var(--muted); }
"""
# Another shape as well as another colour.
_SIGNS = {"kept": "\N{BLACK CIRCLE}", "missed": "\N{MULTIPLICATION X}", "late": "\N{WHITE CIRCLE}"}
_STEPS = (1.0, 2.0, 5.0)
# On a linear axis.
_MARKS = 4


@dataclass(frozen=True)
class Point:
    """`verdict` is `kept`, `missed` or `late`, and `told` what is shown at the pointer."""

    rate: float
    value: float
    verdict: str
    told: str


@dataclass(frozen=True)
class _Axis:
    low: float
    high: float
    log: bool

    def share(self, value: float) -> float:
        """Where a value is, from 0 to 1."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def marks(self) -> list[float]:
        if not self.log:
            return [self.low + (self.high - self.low) * mark / _MARKS for mark in range(_MARKS + 1)]
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        marks = [step * 10.0**power for power in powers for step in _STEPS]
        return [mark for mark in marks if self.low <= mark <= self.high]


def scatter(title: str, unit: str, points: Sequence[Point], *, log: bool) -> str:
    """Points over the rate, whose axis is logarithmic.

    Args:
        log: the values' axis is logarithmic, too; they are above 0.
    """
    caption = (
        f'<figcaption><b>{escape(title)}</b> <span class="unit">{escape(unit)}, over requests/s</span></figcaption>'
    )
    if not points:
        return f'<figure>{caption}<p class="none">Nothing was measured.</p></figure>'
    rates, values = [point.rate for point in points], [point.value for point in points]
    x = _Axis(min(rates) / 1.3, max(rates) * 1.3, log=True)
    y = _Axis(min(values) / 1.5, max(values) * 1.5, log) if log else _Axis(0.0, max(values) * 1.1 or 1.0, log)
    grid = "".join(f'<path class="grid" d="M0 {100 * (1 - y.share(mark)):.2f}H100"/>' for mark in y.marks())
    placed = [f'<span class="y" style="bottom:{y.share(mark):.2%}">{charts.number(mark)}</span>' for mark in y.marks()]
    placed += [f'<span class="x" style="left:{x.share(mark):.2%}">{charts.number(mark)}</span>' for mark in x.marks()]
    placed += [
        f'<span class="point {point.verdict}" style="left:{x.share(point.rate):.2%};bottom:{y.share(point.value):.2%}" '
        f'title="{escape(point.told, quote=True)}">{_SIGNS[point.verdict]}</span>'
        for point in points
    ]
    told = escape(f"{title}: {'; '.join(point.told for point in points)}", quote=True)
    return (
        f'<figure>{caption}<div class="plot" role="img" aria-label="{told}"><svg viewBox="0 0 100 100" '
        f'preserveAspectRatio="none" aria-hidden="true">{grid}</svg>{"".join(placed)}</div></figure>'
    )
