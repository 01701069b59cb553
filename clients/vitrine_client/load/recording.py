"""What a run's requests came to, by the second in which they were due."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from vitrine_client.load.histogram import Histogram


@dataclass
class Tally:
    """Requests of one kind: latencies of the good answers, and failures by their kind."""

    latencies: Histogram = field(default_factory=Histogram)
    errors: Counter[str] = field(default_factory=Counter)

    @property
    def requests(self) -> int:
        return self.latencies.count + self.errors.total()

    @property
    def error_ratio(self) -> float | None:
        return self.errors.total() / self.requests if self.requests else None

    def merge(self, other: Tally) -> None:
        self.latencies.merge(other.latencies)
        self.errors.update(other.errors)


@dataclass
class Recording:
    """Everything that was measured, warm-up included.

    Attributes:
        tallies: by second since the run's begin, and transport (`grpc` or `rest`).
        users: the number of users in a second.
        late: of an open loop, how long after it was due a request was sent: the generator's own fault.
        dropped: requests of an open loop that were never sent, for too many were under way.
    """

    tallies: dict[tuple[int, str], Tally] = field(default_factory=lambda: defaultdict(Tally))
    users: Counter[int] = field(default_factory=Counter)
    late: Histogram = field(default_factory=Histogram)
    dropped: int = 0

    def add(self, due: float, transport: str, seconds: float, failure: str | None = None) -> None:
        """Count a request that was due `due` seconds after the run's begin and took `seconds` from then on."""
        tally = self.tallies[max(0, int(due)), transport]
        if failure is None:
            tally.latencies.add(seconds)
        else:
            tally.errors[failure] += 1

    def merge(self, other: Recording) -> None:
        for key, tally in other.tallies.items():
            self.tallies[key].merge(tally)
        self.users.update(other.users)
        self.late.merge(other.late)
        self.dropped += other.dropped

    def total(self, first: float, transports: Iterable[str]) -> Tally:
        """All requests that were due from second `first` on."""
        wanted = set(transports)
        total = Tally()
        for (second, transport), tally in self.tallies.items():
            if second >= first and transport in wanted:
                total.merge(tally)
        return total

    def packed(self) -> dict[str, Any]:
        """Plain values for a message: what `unpacked` takes."""
        return {
            "tallies": [
                [second, transport, tally.latencies.packed(), dict(tally.errors)]
                for (second, transport), tally in self.tallies.items()
            ],
            "users": list(self.users.items()),
            "late": self.late.packed(),
            "dropped": self.dropped,
        }

    @classmethod
    def unpacked(cls, packed: Mapping[str, Any]) -> Recording:
        found = cls()
        for second, transport, latencies, errors in packed["tallies"]:
            found.tallies[second, transport] = Tally(Histogram.unpacked(latencies), Counter(errors))
        found.users.update(dict(packed["users"]))
        found.late = Histogram.unpacked(packed["late"])
        found.dropped = packed["dropped"]
        return found
