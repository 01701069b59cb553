"""When requests of an open loop are due: independent of how fast the server answers them."""

from __future__ import annotations

import random
from collections.abc import Iterator

from vitrine_client.load.stages import Stages

ARRIVALS = ("closed", "constant", "poisson")


def due(stages: Stages, arrivals: str, share: int = 0, shares: int = 1, seed: int | None = None) -> Iterator[float]:
    """Seconds from the run's begin at which one of `shares` processes sends, in order, until the stages end.

    Together the shares are one process at the full rate: with constant arrivals they take turns, and Poisson
    processes add up to one. A rate that changes is the same process on a stretched clock: arrival number x is due when
    the integral of the rate has reached x (Çinlar 1975, for the inhomogeneous Poisson process).

    Args:
        stages: levels are requests per second of all shares.
        arrivals: `constant` or `poisson`.
        share: which one, from 0.
    """
    noise = random.Random(seed)  # noqa: S311 - arrivals are no secret
    number = float(share) + 0.5 if arrivals == "constant" else 0.0
    while True:
        if arrivals == "poisson":
            number += noise.expovariate(1.0) * shares
        second = stages.second_of(number)
        if second is None:
            return
        yield second
        if arrivals == "constant":
            number += shares
