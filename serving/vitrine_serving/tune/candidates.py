"""What can be tried: who batches, how, and with how many threads."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Where = Literal["as exported", "in-graph", "server-side"]
SWEPT: tuple[Where, ...] = ("in-graph", "server-side")
# TensorFlow's own limits, 10 batches, refuse requests before the processors are busy.
_MAX_ENQUEUED_BATCHES = 1000


@dataclass(frozen=True)
class Batching:
    """The attributes of a graph's batch, or the parameters of a server's; sizes are in rows, 0 s wait for nobody."""

    batch_size: int
    """The most rows that run together."""
    timeout_micros: int
    num_threads: int
    max_enqueued_batches: int = _MAX_ENQUEUED_BATCHES
    allowed_sizes: tuple[int, ...] = ()
    """Batches have one of these sizes; empty: as they come."""
    padding_policy: str = "PAD_UP"
    """How a graph's batch comes to an allowed size, BatchFunction's batch_padding_policy; this is its default."""

    def __str__(self) -> str:
        if self.batch_size == 1:
            return f"no merging, {self.num_threads} at once"
        return f"up to {self.batch_size} rows, {self.timeout_micros} µs, {self.num_threads} batches at once"


@dataclass(frozen=True)
class Threads:
    """TensorFlow's: of one operation, and operations run at once; 0 leaves the number to TensorFlow."""

    intra_op: int
    inter_op: int

    def __str__(self) -> str:
        return f"{self.intra_op}x{self.inter_op} threads"


@dataclass(frozen=True)
class Candidate:
    """One way to serve the model.

    Attributes:
        where: `as exported`: the version as it is; `in-graph`: its graph's batch with other attributes; `server-side`:
            the version as it is, under --enable_batching.
        batching: of the graph or of the server; None for a graph without a batch, as exported.
    """

    where: Where
    batching: Batching | None
    threads: Threads

    def __str__(self) -> str:
        return f"{self.where}: {self.batching or 'no batching'}; {self.threads}"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Grid:
    """The values that are combined. Timeouts are in microseconds, sizes in rows."""

    where: Sequence[Where]
    batch_sizes: Sequence[int]
    timeouts: Sequence[int]
    batch_threads: Sequence[int]
    threads: Sequence[Threads]

    def candidates(self, present: Candidate, runs_as_exported: bool = True) -> list[Candidate]:
        """All combinations that differ, without `present`, which is the version as exported with default flags.

        There are in-graph ones only where the graph has a batch. Under server-side ones the graph stays as it is.
        Without `runs_as_exported` the server limits a graph's batch by default, and the same attributes in full are a
        candidate of their own.
        """
        found: dict[Candidate, None] = {}
        for threads in self.threads:
            found[Candidate("as exported", present.batching, threads)] = None
            for batching in self._in_graph(present.batching) if "in-graph" in self.where else ():
                same = batching == present.batching and runs_as_exported
                found[Candidate("as exported" if same else "in-graph", batching, threads)] = None
            for batching in self._server_side() if "server-side" in self.where else ():
                found[Candidate("server-side", batching, threads)] = None
        found.pop(present, None)
        return list(found)

    def _in_graph(self, present: Batching | None) -> Iterator[Batching]:
        if present is None:
            return
        for size, timeout, threads in itertools.product(self.batch_sizes, self.timeouts, self.batch_threads):
            # A batch of one row is full at once.
            yield Batching(
                size,
                timeout if size > 1 else 0,
                threads,
                allowed_sizes=powers_of_two(size),
                padding_policy=present.padding_policy,
            )

    def _server_side(self) -> Iterator[Batching]:
        for size, timeout, threads in itertools.product(self.batch_sizes, self.timeouts, self.batch_threads):
            if size > 1:
                # Not padded: the pictures of the padding would be decoded, too.
                yield Batching(size, timeout, threads)


def powers_of_two(size: int) -> tuple[int, ...]:
    """The sizes that batches of up to `size` rows may have, as recipes say: padded to at most twice as many rows."""
    smaller: Iterable[int] = itertools.takewhile(lambda power: power < size, (2**exponent for exponent in range(31)))
    return (*smaller, size)
