"""Turns: as many as told, in the order of arrival, and none lost to those who gave up."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from processes import DEADLINE_SECONDS, wait_until

from vitrine_serving.embedded.inference.turns import Turns


def test_who_waits_goes_on_in_the_order_of_arrival_however_many_come_later():
    turns = Turns(1)
    order: list[int] = []
    assert turns.take()

    def wait(number: int) -> None:
        assert turns.take()
        order.append(number)
        turns.give_back()

    with ThreadPoolExecutor(20) as pool:
        for number in range(20):
            waiting = pool.submit(wait, number)
            wait_until(lambda number=number: len(turns._waiting) == number + 1, "it waits")
        turns.give_back()
        waiting.result(DEADLINE_SECONDS)
    assert order == list(range(20))


@pytest.mark.parametrize("count", [1, 3])
def test_never_more_than_told_go_on_and_none_is_lost_to_those_who_give_up(count):
    turns = Turns(count)
    inside, most, went = 0, 0, 0
    lock = threading.Lock()

    def come_and_go(number: int) -> None:
        nonlocal inside, most, went
        for attempt in range(200):
            # Some give up at about the moment when their turn comes.
            if not turns.take(1e-5 * ((number + attempt) % 5) if number % 2 else None):
                continue
            with lock:
                inside, went = inside + 1, went + 1
                most = max(most, inside)
            with lock:
                inside -= 1
            turns.give_back()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(come_and_go, range(8)))
    assert went >= 4 * 200
    assert 1 <= most <= count
    assert all(turns.take(0) for _ in range(count))
    assert not turns.take(0)
