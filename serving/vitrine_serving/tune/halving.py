"""Successive halving (Jamieson & Talwalkar 2016): short measurements of all, longer ones of the better half."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import TypeVar

from vitrine_serving.tune.visits import Standing

FINALISTS = 3
# A final's measurements, against the first round's: with three repeats, they last longer than those of any round before
# where there are up to 24 candidates.
FINAL_FACTOR = 2
_C = TypeVar("_C", bound=Hashable)


def rounds(number: int, seconds: int) -> list[tuple[int, int]]:
    """How many candidates are measured in each round before the final, and for how many seconds."""
    planned = []
    while number > FINALISTS:
        planned.append((number, seconds))
        number, seconds = _left(number), 2 * seconds
    return planned


def halve(candidates: Sequence[_C], seconds: int, measure: Callable[[_C, int, int], Standing | None]) -> list[_C]:
    """The finalists, best first; all of the candidates, unmeasured, where there are no more than FINALISTS.

    Args:
        measure: called with a candidate, the round from 1, and the seconds; None where the candidate is out.
    """
    alive = list(candidates)
    number = 0
    while len(alive) > FINALISTS:
        number += 1
        standings = {candidate: measure(candidate, number, seconds) for candidate in alive}
        good = {candidate: standing for candidate, standing in standings.items() if standing is not None}
        alive = sorted(good, key=good.__getitem__, reverse=True)[: _left(len(alive))]
        seconds *= 2
    return alive


def interleaved(finalists: Sequence[_C], repeats: int) -> Iterator[tuple[int, _C]]:
    """Each finalist once in each repeat, from 1; the order turns round, so that a machine that slows down is fair."""
    for repeat in range(1, repeats + 1):
        for finalist in finalists if repeat % 2 else reversed(finalists):
            yield repeat, finalist


def _left(number: int) -> int:
    return max(FINALISTS, -(-number // 2))
