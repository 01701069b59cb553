"""How long a request may still take."""

from __future__ import annotations

import time
from collections.abc import Callable

from vitrine_serving.embedded.errors import Code, ServingError

# Seconds until nobody waits for the answer any more, 0 or less when it is so; None: no limit.
TimeLeft = Callable[[], float | None]


def unlimited() -> None:
    """The TimeLeft of a request without a deadline."""


def until(deadline: float) -> TimeLeft:
    """The TimeLeft of a request that must be answered by `deadline`, a time of `time.monotonic`."""
    return lambda: deadline - time.monotonic()


def check_not_expired(time_left: TimeLeft) -> None:
    """Raise ServingError DEADLINE_EXCEEDED, in the words of TensorFlow's session, when no time is left."""
    left = time_left()
    if left is not None and left <= 0:
        raise ServingError(Code.DEADLINE_EXCEEDED, "Timed out waiting for notification")
