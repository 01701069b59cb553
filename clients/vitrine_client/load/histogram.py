"""Latencies in logarithmic buckets: small enough to send from a worker to its master, to the percent exact."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

# A percentile is the middle of a bucket, so at most half of this off. The one of HdrHistogram with two digits.
_GROWTH = 1.01
_LEAST_SECONDS = 1e-6
_LOG_GROWTH = math.log(_GROWTH)


@dataclass
class Histogram:
    """How often each latency was seen. Percentiles are off by 0.5 % at most; `max` and `mean` are exact.

    Attributes:
        buckets: bucket's number to how often; bucket n holds `1.01 ** n` to `1.01 ** (n + 1)` microseconds.
        total, max: seconds, of all.
    """

    buckets: Counter[int] = field(default_factory=Counter)
    total: float = 0.0
    max: float = 0.0

    @property
    def count(self) -> int:
        return self.buckets.total()

    @property
    def mean(self) -> float | None:
        """Seconds; None where nothing was added."""
        return self.total / self.count if self.buckets else None

    def add(self, seconds: float) -> None:
        self.buckets[int(math.log(max(seconds, _LEAST_SECONDS) / _LEAST_SECONDS) / _LOG_GROWTH)] += 1
        self.total += seconds
        self.max = max(self.max, seconds)

    def merge(self, other: Histogram) -> None:
        """Add all that `other` has."""
        self.buckets.update(other.buckets)
        self.total += other.total
        self.max = max(self.max, other.max)

    def percentile(self, percent: float) -> float | None:
        """Seconds that `percent` of all do not exceed, by the nearest rank; None where nothing was added."""
        rank = max(1, math.ceil(self.count * percent / 100))
        seen = 0
        for bucket in sorted(self.buckets):
            seen += self.buckets[bucket]
            if seen >= rank:
                return min(self.max, _LEAST_SECONDS * _GROWTH ** (bucket + 0.5))
        return None

    def packed(self) -> list[Any]:
        """Plain values for a message: what `unpacked` takes."""
        return [self.total, self.max, *(value for pair in self.buckets.items() for value in pair)]

    @classmethod
    def unpacked(cls, packed: list[Any]) -> Histogram:
        total, greatest, *pairs = packed
        return cls(Counter(dict(zip(pairs[::2], pairs[1::2], strict=True))), total, greatest)

    @classmethod
    def of(cls, values: Iterable[float]) -> Histogram:
        found = cls()
        for seconds in values:
            found.add(seconds)
        return found
