"""batching.config, the file of `--batching_parameters_file`: its values, TensorFlow's rules for them, its text."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import Message

from vitrine_serving.config import messages
from vitrine_serving.config.errors import InvalidConfig
from vitrine_serving.config.text_proto import parse, to_text
from vitrine_serving.embedded.cpus import available_cpus

_BATCH_SIZE = 128
# More threads than any machine has CPUs for: a slip of the pen, that would take the server down.
MOST_BATCH_THREADS = 4096


@dataclass(frozen=True)
class BatchingParameters:
    """`tensorflow.serving.BatchingParameters`, TensorFlow's defaults filled in; sizes are in rows.

    `num_batch_threads` and `thread_pool_name` are about the server's one pool of threads, the rest about
    each queue. `max_execution_batch_size` counts only where large requests are split; 0 is `max_batch_size`.
    """

    max_batch_size: int = 1000
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 10
    num_batch_threads: int = field(default_factory=available_cpus)
    thread_pool_name: str = "batch_threads"
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length_inputs: bool = False
    enable_large_batch_splitting: bool = False
    max_execution_batch_size: int = 0

    @property
    def execution_batch_size(self) -> int:
        """The most rows a batch may have, where `max_batch_size` is the most a request may have."""
        return (self.enable_large_batch_splitting and self.max_execution_batch_size) or self.max_batch_size

    def padded(self, size: int) -> int:
        """The first allowed batch size that holds `size` rows."""
        return next((allowed for allowed in self.allowed_batch_sizes if allowed >= size), size)

    def check(self) -> None:
        """Raise InvalidConfig when nothing can be batched by these parameters."""
        sizes = self.allowed_batch_sizes
        if sizes and sizes[-1] != self.max_batch_size:
            raise InvalidConfig(
                "Last entry in allowed_batch_sizes must match max_batch_size; last entry was "
                f"{sizes[-1]}; expected {self.max_batch_size}"
            )
        if any(size >= larger for size, larger in itertools.pairwise(sizes)):
            raise InvalidConfig("allowed_batch_sizes entries must be monotonically increasing")
        _check_positive("num_batch_threads", self.num_batch_threads)
        if self.num_batch_threads > MOST_BATCH_THREADS:
            raise InvalidConfig(f"num_batch_threads must be at most {MOST_BATCH_THREADS}; was {self.num_batch_threads}")
        _check_positive("input_batch_size_limit", self.max_batch_size)
        if self.batch_timeout_micros < 0:
            raise InvalidConfig(f"batch_timeout_micros must be non-negative; was {self.batch_timeout_micros}")
        # Without splitting 0 has always been taken for 1.
        _check_positive("max_enqueued_batches", self.max_enqueued_batches + (not self.enable_large_batch_splitting))
        _check_positive("max_execution_batch_size", self.execution_batch_size)
        if self.execution_batch_size > self.max_batch_size:
            raise InvalidConfig(
                "When enable_large_batch_splitting is true, input_batch_size_limit must be greater than or equal "
                f"to max_execution_batch_size; they are {self.max_batch_size} and {self.execution_batch_size}"
            )


@dataclass(frozen=True)
class BatchingSettings:
    """What `vitrine-serving config write` says of batching; None leaves the choice to the server.

    Attributes:
        max_batch_size: rows of a batch, and of a request: one with more is refused. None: the largest allowed batch
            size, or 128.
        batch_timeout_micros: how long a batch waits for more rows, in microseconds; 0 batches what is waiting anyway.
        max_enqueued_batches: batches that wait; requests beyond them are refused.
        num_batch_threads: batches in work at once; None: one a CPU of the server.
        allowed_batch_sizes: batches are padded to the next of these sizes; empty: as they come.
    """

    max_batch_size: int | None = None
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 1000
    num_batch_threads: int | None = None
    allowed_batch_sizes: tuple[int, ...] = ()

    def text(self) -> str:
        """The text proto; not checked."""
        largest = self.allowed_batch_sizes[-1] if self.allowed_batch_sizes else _BATCH_SIZE
        size = largest if self.max_batch_size is None else self.max_batch_size
        message = messages.BatchingParameters(
            max_batch_size={"value": size},
            batch_timeout_micros={"value": self.batch_timeout_micros},
            max_enqueued_batches={"value": self.max_enqueued_batches},
            allowed_batch_sizes=self.allowed_batch_sizes,
        )
        if self.num_batch_threads is not None:
            message.num_batch_threads.value = self.num_batch_threads
        return to_text(message, "Read with --enable_batching only: models of vitrine-export batch in their own graph.")


def parse_batching(content: bytes) -> BatchingParameters:
    """The checked parameters, TensorFlow's defaults filled in; raises InvalidConfig."""
    parameters = BatchingParameters(**given_values(parse(content, messages.BatchingParameters())))
    parameters.check()
    return parameters


def given_values(message: Message) -> dict[str, Any]:
    """The fields that a BatchingParameters message says something of, as arguments of the dataclass."""
    return {descriptor.name: _plain(value) for descriptor, value in message.ListFields()}


def _plain(value: Any) -> Any:
    if isinstance(value, Message):
        return value.value  # type: ignore[attr-defined]
    return value if isinstance(value, bool) else tuple(value)


def _check_positive(name: str, value: int) -> None:
    if value < 1:
        raise InvalidConfig(f"{name} must be positive; was {value}")
