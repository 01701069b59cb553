"""Counters, gauges and histograms that many threads write, and their Prometheus text.

Written out as TensorFlow Serving does; `prometheus_client` cannot be used, for it adds `_total` to a counter's name.
"""

from __future__ import annotations

import math
import threading
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

Labels = tuple[str, ...]
Number = int | float


class Metric(Protocol):
    """What a page of metrics is made of."""

    name: str

    def lines(self) -> Iterator[str]:
        """The metric's lines of Prometheus text, without line ends; none to leave the metric out."""


class CounterCell:
    """One number of a counter or gauge."""

    __slots__ = ("_lock", "_value")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._value = 0

    def add(self, amount: int = 1) -> None:
        with self._lock:
            self._value += amount

    @property
    def value(self) -> int:
        return self._value


class HistogramCell:
    """How many observed values fell into each bucket, and their sum."""

    __slots__ = ("_bounds", "_counts", "_lock", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._lock = threading.Lock()
        self._counts = [0] * (len(bounds) + 1)
        self._sum: Number = 0

    def observe(self, value: Number) -> None:
        # TensorFlow counts a value that equals a bucket's bound in the next bucket.
        bucket = bisect_right(self._bounds, value)
        with self._lock:
            self._counts[bucket] += 1
            self._sum += value

    def read(self) -> tuple[list[int], Number]:
        """The count of each bucket (not cumulative), the last one unbounded; and the sum of the values."""
        with self._lock:
            return list(self._counts), self._sum


class Counter:
    """A number for each set of label values. `kind` is `counter` or `gauge`."""

    def __init__(self, name: str, *label_names: str, kind: str = "counter", description: str = "") -> None:
        self.name = name
        self._label_names = label_names
        self._header = _header(name, kind, description)
        self._cells: dict[Labels, CounterCell] = {}

    def cell(self, *labels: str) -> CounterCell:
        cell = self._cells.get(labels)
        # `setdefault` is atomic: two threads get the same new cell.
        return cell if cell is not None else self._cells.setdefault(labels, CounterCell())

    def lines(self) -> Iterator[str]:
        yield from self._header
        for labels, cell in sorted(self._cells.copy().items()):
            yield f"{self.name}{{{_label_text(self._label_names, labels)}}} {cell.value}"


class Histogram:
    """A distribution for each set of label values.

    `bounds` are the finite buckets' upper bounds, ascending. A metric that is `hidden_until_used` has no
    `# TYPE` line before its first value, like those that TensorFlow registers on first use.
    """

    def __init__(
        self,
        name: str,
        *label_names: str,
        bounds: Sequence[float],
        description: str = "",
        hidden_until_used: bool = False,
    ) -> None:
        self.name = name
        self._label_names = label_names
        self._bounds = tuple(bounds)
        # Six digits, as C++ writes them: dashboards select buckets by this text.
        self._bound_texts = [*(f"{bound:g}" for bound in self._bounds), "+Inf"]
        self._header = _header(name, "histogram", description)
        self._hidden_until_used = hidden_until_used
        self._cells: dict[Labels, HistogramCell] = {}

    def cell(self, *labels: str) -> HistogramCell:
        cell = self._cells.get(labels)
        return cell if cell is not None else self._cells.setdefault(labels, HistogramCell(self._bounds))

    def lines(self) -> Iterator[str]:
        cells = sorted(self._cells.copy().items())
        if self._hidden_until_used and not cells:
            return
        yield from self._header
        for labels, cell in cells:
            text = _label_text(self._label_names, labels)
            prefix = f"{self.name}_bucket{{{text}{',' if text else ''}le="
            counts, total = cell.read()
            cumulative = 0
            for bound, count in zip(self._bound_texts, counts, strict=True):
                cumulative += count
                yield f'{prefix}"{bound}"}} {cumulative}'
            yield f"{self.name}_sum{{{text}}} {_number_text(total)}"
            yield f"{self.name}_count{{{text}}} {cumulative}"


class Collected:
    """A metric whose values are asked for when the page is made: `collect` gives label values and numbers."""

    def __init__(
        self,
        name: str,
        *label_names: str,
        collect: Callable[[], Iterable[tuple[Labels, Number]]],
        kind: str = "gauge",
        description: str = "",
    ) -> None:
        self.name = name
        self._label_names = label_names
        self._collect = collect
        self._header = _header(name, kind, description)

    def lines(self) -> Iterator[str]:
        yield from self._header
        for labels, value in sorted(self._collect()):
            yield f"{self.name}{{{_label_text(self._label_names, labels)}}} {_number_text(value)}"


def exponential(scale: float, growth: float, count: int) -> tuple[float, ...]:
    """`count` bucket bounds: `scale`, then each `growth` times the one before."""
    return tuple(scale * growth**index for index in range(count))


def exposition(metrics: Iterable[Metric]) -> str:
    """The metrics in Prometheus text format, in the order given."""
    return "\n".join(line for metric in metrics for line in metric.lines()) + "\n"


def _header(name: str, kind: str, description: str) -> tuple[str, ...]:
    type_line = f"# TYPE {name} {kind}"
    return (f"# HELP {name} {description}", type_line) if description else (type_line,)


def _label_text(names: Labels, values: Labels) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True))


def _escaped(value: str) -> str:
    # A name decoded from a URL or a path may hold halves of surrogate pairs, which have no UTF-8 form.
    encodable = value.encode("utf-8", "backslashreplace").decode("utf-8")
    # TensorFlow Serving leaves line ends alone, and one in a client's model name breaks its page.
    return encodable.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number_text(value: Number) -> str:
    """Every digit: at the six that TensorFlow Serving writes, a large sum stands still between two scrapes."""
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        return str(int(value))
    return str(value)
