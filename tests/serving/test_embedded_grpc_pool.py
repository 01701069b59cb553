"""The pool that runs gRPC's calls."""

from __future__ import annotations

import threading

import pytest

from vitrine_serving.embedded.grpc.pool import CallPool

TIMEOUT = 10.0


@pytest.fixture
def pool():
    pool = CallPool(2, "pool-test")
    yield pool
    pool.shutdown()


def threads_of_pool() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("pool-test")]


def ended_tasks(pool: CallPool, functions) -> threading.Semaphore:
    """Submits the functions; the semaphore counts those that have ended."""
    ended = threading.Semaphore(0)
    for function in functions:
        pool.submit(function).add_done_callback(lambda _: ended.release())
    return ended


def test_runs_as_many_at_once_as_it_has_threads_and_the_rest_after_them(pool):
    both_run, may_end, ran = threading.Barrier(3), threading.Event(), []

    def hold():
        both_run.wait(TIMEOUT)
        may_end.wait(TIMEOUT)

    ended = ended_tasks(pool, [hold, hold, *(lambda number=number: ran.append(number) for number in range(5))])
    both_run.wait(TIMEOUT)
    assert (pool.in_flight, ran) == (7, [])
    may_end.set()
    for _ in range(7):
        assert ended.acquire(timeout=TIMEOUT)
    assert sorted(ran) == list(range(5))
    assert len(threads_of_pool()) == 2


def test_a_task_may_say_that_it_is_about_to_end(pool):
    said, may_end = threading.Event(), threading.Event()

    def answer():
        pool.finishing()
        pool.finishing()
        said.set()
        may_end.wait(TIMEOUT)

    ended = ended_tasks(pool, [answer])
    assert said.wait(TIMEOUT)
    assert pool.in_flight == 0
    # Who is no task of the pool has nothing to say.
    pool.finishing()
    may_end.set()
    assert ended.acquire(timeout=TIMEOUT)
    pool.shutdown()
    for thread in threads_of_pool():
        thread.join(TIMEOUT)
    assert pool.in_flight == 0


def test_tasks_that_are_held_are_taken_on_and_run_later(pool):
    ran: list[int] = []
    pool.hold()
    ended = ended_tasks(pool, [lambda number=number: ran.append(number) for number in range(5)])
    assert not ended.acquire(timeout=0.05)
    assert (pool.in_flight, ran) == (5, [])
    pool.go_on()
    for _ in range(5):
        assert ended.acquire(timeout=TIMEOUT)
    assert sorted(ran) == list(range(5))


def test_done_callbacks_run_once_whether_added_before_or_after_the_end(pool):
    may_end, ended, told = threading.Event(), threading.Event(), []
    task = pool.submit(may_end.wait, TIMEOUT)
    task.add_done_callback(lambda _: told.append("before"))
    task.add_done_callback(lambda _: ended.set())
    assert not told
    may_end.set()
    assert ended.wait(TIMEOUT)
    task.add_done_callback(lambda _: told.append("after"))
    assert told == ["before", "after"]


def test_a_task_that_raises_does_not_take_its_thread_along(pool, caplog):
    def fail():
        raise SystemExit("gone")

    ended = ended_tasks(pool, [fail] * 4)
    for _ in range(4):
        assert ended.acquire(timeout=TIMEOUT)
    assert ended_tasks(pool, [lambda: None]).acquire(timeout=TIMEOUT)
    assert caplog.text.count("SystemExit: gone") == 4


def test_threads_end_after_the_shutdown(pool):
    done = threading.Event()
    pool.submit(done.set)
    assert done.wait(TIMEOUT)
    threads = threads_of_pool()
    pool.shutdown()
    for thread in threads:
        thread.join(TIMEOUT)
    assert threads and not threads_of_pool()


def test_when_the_system_has_no_more_threads_those_there_are_do_the_work(pool, monkeypatch):
    done, first = threading.Event(), threading.Event()
    pool.submit(first.set)
    assert first.wait(TIMEOUT)

    def refuse(_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    may_end = threading.Event()
    pool.submit(may_end.wait, TIMEOUT)
    pool.submit(done.set)
    may_end.set()
    assert done.wait(TIMEOUT)
