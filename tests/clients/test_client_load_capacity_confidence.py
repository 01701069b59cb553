"""The bounds on the probability that a rate is kept: those of Clopper and Pearson."""

from __future__ import annotations

import math

import pytest

from vitrine_client.load.capacity.confidence import at_least, at_most


@pytest.mark.parametrize(
    ("kept", "trials", "bound"),
    # R's binom.test(kept, trials, alternative = "greater")$conf.int[1].
    [(3, 3, 0.36840), (10, 10, 0.74113), (2, 3, 0.13535), (9, 10, 0.60584), (0, 5, 0.0), (299, 299, 0.99003)],
)
def test_bounds_are_the_exact_ones(kept: int, trials: int, bound: float):
    assert at_least(kept, trials) == pytest.approx(bound, abs=1e-5)
    assert at_most(trials - kept, trials) == pytest.approx(1 - bound, abs=1e-5)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8, 0.95])
@pytest.mark.parametrize("trials", [1, 3, 7])
def test_the_lower_bound_is_wrong_at_most_once_in_twenty(p: float, trials: int):
    wrong = math.fsum(
        math.comb(trials, kept) * p**kept * (1 - p) ** (trials - kept)
        for kept in range(trials + 1)
        if at_least(kept, trials) > p
    )
    assert wrong <= 0.05
