"""How requests are put together into batches: the text proto TensorFlow Serving reads, and its rules."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

import tensorflow as tf
from google.protobuf import descriptor_pb2
from google.protobuf.message import Message

from vitrine_serving.embedded.cpus import available_cpus
from vitrine_serving.embedded.errors import invalid_argument
from vitrine_serving.embedded.text_protos import message_class, new_file, read_text_proto

# Beside saved_model.pb, in the version's own directory.
MODEL_PARAMETERS_FILE = "batching_params.pbtxt"
# More threads than any machine has CPUs for: a slip of the pen, that would take the server down.
_MOST_BATCH_THREADS = 4096


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
        """Raise ServingError INVALID_ARGUMENT when nothing can be batched by these parameters."""
        sizes = self.allowed_batch_sizes
        if sizes and sizes[-1] != self.max_batch_size:
            raise invalid_argument(
                "Last entry in allowed_batch_sizes must match max_batch_size; last entry was "
                f"{sizes[-1]}; expected {self.max_batch_size}"
            )
        if any(size >= larger for size, larger in itertools.pairwise(sizes)):
            raise invalid_argument("allowed_batch_sizes entries must be monotonically increasing")
        _check_positive("num_batch_threads", self.num_batch_threads)
        if self.num_batch_threads > _MOST_BATCH_THREADS:
            raise invalid_argument(
                f"num_batch_threads must be at most {_MOST_BATCH_THREADS}; was {self.num_batch_threads}"
            )
        _check_positive("input_batch_size_limit", self.max_batch_size)
        if self.batch_timeout_micros < 0:
            raise invalid_argument(f"batch_timeout_micros must be non-negative; was {self.batch_timeout_micros}")
        # Without splitting 0 has always been taken for 1.
        _check_positive("max_enqueued_batches", self.max_enqueued_batches + (not self.enable_large_batch_splitting))
        _check_positive("max_execution_batch_size", self.execution_batch_size)
        if self.execution_batch_size > self.max_batch_size:
            raise invalid_argument(
                "When enable_large_batch_splitting is true, input_batch_size_limit must be greater than or equal "
                f"to max_execution_batch_size; they are {self.max_batch_size} and {self.max_execution_batch_size}"
            )


def read_batching_parameters(path: str) -> BatchingParameters:
    """Read the text proto `tensorflow.serving.BatchingParameters` at `path`, local or any address TensorFlow reads.

    Raises ServingError: INVALID_ARGUMENT for what is not such a proto, with the parser's reason, or breaks its
    rules; else what the file system said.
    """
    proto = read_text_proto(path, _message_class()())
    given = {descriptor.name: _plain(value) for descriptor, value in proto.ListFields()}
    parameters = BatchingParameters(**given)
    parameters.check()
    return parameters


def model_batching_parameters(path: str) -> BatchingParameters | None:
    """The parameters a SavedModel brings along in its directory `path`; None, so no batching, without the file.

    For `--enable_per_model_batching_parameters`. The threads stay those of the server. Raises as
    `read_batching_parameters`.
    """
    file = tf.io.gfile.join(path, MODEL_PARAMETERS_FILE)
    return read_batching_parameters(file) if tf.io.gfile.exists(file) else None


def _check_positive(name: str, value: int) -> None:
    if value < 1:
        raise invalid_argument(f"{name} must be positive; was {value}")


def _plain(value: Any) -> Any:
    if isinstance(value, Message):
        return value.value  # type: ignore[attr-defined]
    return value if isinstance(value, bool) else tuple(value)


def _message_class() -> Any:
    # tensorflow-serving-api comes without session_bundle_config.proto.
    kinds = descriptor_pb2.FieldDescriptorProto
    file = new_file()
    message = file.message_type.add(name="BatchingParameters")
    wrappers = {
        "max_batch_size": (1, "Int64Value"),
        "batch_timeout_micros": (2, "Int64Value"),
        "max_enqueued_batches": (3, "Int64Value"),
        "num_batch_threads": (4, "Int64Value"),
        "thread_pool_name": (5, "StringValue"),
        "enable_large_batch_splitting": (8, "BoolValue"),
        "max_execution_batch_size": (9, "Int64Value"),
    }
    for name, (number, wrapper) in wrappers.items():
        kind = f".google.protobuf.{wrapper}"
        message.field.add(name=name, number=number, label=kinds.LABEL_OPTIONAL, type=kinds.TYPE_MESSAGE, type_name=kind)
    message.field.add(name="allowed_batch_sizes", number=6, label=kinds.LABEL_REPEATED, type=kinds.TYPE_INT64)
    message.field.add(name="pad_variable_length_inputs", number=7, label=kinds.LABEL_OPTIONAL, type=kinds.TYPE_BOOL)
    return message_class(file, message.name)
