"""From what TensorFlow raises in the middle of training to an error that says what to do."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator

import tensorflow as tf

from vitrine_export.datasets.checks import reason_of
from vitrine_export.errors import RunError
from vitrine_export.recipe import Recipe
from vitrine_export.training.devices import devices

# What a worker sees when another one is gone.
_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
    tf.errors.FailedPreconditionError,
)

# TensorFlow has one error for all that runs out, memory, the disk and the number of open files; its text tells.
_NOT_MEMORY = tuple(os.strerror(code) for code in (errno.ENOSPC, errno.EMFILE, errno.ENFILE))


@contextlib.contextmanager
def readable_errors(recipe: Recipe) -> Iterator[None]:
    """Raise RunError, with the way out, for TensorFlow's errors and for memory that ran out."""
    try:
        yield
    except (tf.errors.ResourceExhaustedError, MemoryError) as error:
        if isinstance(error, MemoryError) or not any(text in error.message for text in _NOT_MEMORY):
            raise RunError(out_of_memory(recipe)) from None
        raise RunError(f"training failed: {reason_of(error)}") from None
    except tf.errors.OpError as error:
        if isinstance(error, _LOST) and devices().workers > 1:
            raise RunError(
                f"training failed: another worker of TF_CONFIG cannot be reached any more: {reason_of(error)[:200]}; "
                "run the same command on all workers to go on"
            ) from None
        # A picture that has gone since it was checked, for one.
        raise RunError(f"training failed: {reason_of(error)}") from None


def out_of_memory(recipe: Recipe) -> str:
    """What uses less memory, the cheapest remedy first."""
    settings = recipe.training
    remedies = [f"a smaller training.batch_size (it is {settings.batch_size})"] if settings.batch_size > 1 else []
    if not settings.mixed_precision:
        remedies.append("training.mixed_precision: true")
    remedies.append("a smaller resize(...) in preprocessing")
    if recipe.dataset.cache not in ("disk", "none"):
        remedies.append("dataset.cache: disk")
    return f"training failed: out of memory; in this order, try {', '.join(remedies)}"
