"""Which finalist wins, and whether that is more than noise."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vitrine_serving.tune.candidates import Candidate


@dataclass(frozen=True)
class Finalist:
    """A candidate with the score of each repeat: answers per second, 0 where the objectives were not kept."""

    candidate: Candidate
    scores: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.scores)

    def to_json(self) -> dict[str, Any]:
        return {"candidate": self.candidate.to_json(), "scores": list(self.scores), "median": self.median}


@dataclass(frozen=True)
class Choice:
    """The winner. `ratio` is its median against the present one's; None where that does not keep the objectives."""

    winner: Finalist
    present: Finalist

    @property
    def keeps_present(self) -> bool:
        return self.winner == self.present

    @property
    def ratio(self) -> float | None:
        return self.winner.median / self.present.median if self.present.median else None


def choose(present: Finalist, others: Sequence[Finalist]) -> Choice | None:
    """The winner: what is better than `present` beyond doubt, else `present`; None where nobody keeps the objectives.

    Better beyond doubt is whose worst repeat is better than the present one's best. Of two that are truly equal, with
    three repeats each, a given one comes out so once in 20 times. Among the better ones, whoever reaches the best one's
    worst repeat is as good, and is taken before one that has the server batch, where a broken picture fails the
    requests it shares a batch with.
    """
    better = [one for one in others if min(one.scores) > max(present.scores)]
    if not better:
        if present.median > 0:
            return Choice(present, present)
        # It keeps the objectives in one repeat at most. The others may be unsteady, and are still the better choice.
        better = [one for one in others if one.median > 0]
    if not better:
        return None
    best = max(better, key=lambda one: one.median)
    level = [one for one in better if max(one.scores) >= min(best.scores)]
    return Choice(min(level, key=lambda one: (one.candidate.where == "server-side", -one.median)), present)
