"""Concurrent requests run as one batch, and each gets its own rows back."""

from __future__ import annotations

import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from batched_models import PATIENCE_SECONDS, EchoModel, answer, error, floats, parameters, requests_to, strings

from vitrine_serving.embedded.errors import Code, ServingError
from vitrine_serving.embedded.inference.batch_scheduler import BatchScheduler
from vitrine_serving.embedded.inference.batching import BatchingModel
from vitrine_serving.embedded.inference.deadlines import unlimited
from vitrine_serving.embedded.inference.saved_model import load_saved_model


def test_a_full_batch_is_run_at_once_and_each_request_gets_its_rows():
    model = EchoModel()
    with requests_to(model, parameters(4)) as requests:
        first = requests.send("two", {"a": np.array([1, 2, 3]), "b": strings(b"x", b"\0y\0", b"")})
        second = requests.send("two", {"a": np.array([4]), "b": strings(b"z\0")})
        assert answer(first)["a"].tolist() == [1, 2, 3]
        assert answer(first)["b"].tolist() == [b"x", b"\0y\0", b""]
        assert answer(second)["a"].tolist() == [4]
        assert answer(second)["b"].tolist() == [b"z\0"]
    [batch] = model.batches()
    assert batch["a"].tolist() == [1, 2, 3, 4]


def test_a_batch_that_does_not_fill_is_run_after_its_timeout():
    model = EchoModel()
    with requests_to(model, parameters(4, batch_timeout_micros=1000)) as requests:
        assert answer(requests.send("one", {"x": floats(1, 2)}))["x"].tolist() == [1, 2]


def test_a_timeout_may_be_longer_than_any_clock():
    with requests_to(EchoModel(), parameters(2, batch_timeout_micros=2**63 - 1)) as requests:
        first, second = (requests.send("one", {"x": floats(value)}) for value in (1, 2))
        assert answer(first)["x"].tolist() == [1]
        assert answer(second)["x"].tolist() == [2]


def test_a_request_is_not_torn_apart_to_fill_a_batch():
    model = EchoModel()
    with requests_to(model, parameters(4)) as requests:
        first = requests.send("one", {"x": floats(1, 2, 3)})
        second = requests.send("one", {"x": floats(4, 5)})
        assert answer(first)["x"].tolist() == [1, 2, 3]
        third = requests.send("one", {"x": floats(6, 7)})
        assert answer(second)["x"].tolist() == [4, 5]
        assert answer(third)["x"].tolist() == [6, 7]
    assert [batch["x"].tolist() for batch in model.batches()] == [[1, 2, 3], [4, 5, 6, 7]]


def test_requests_share_a_batch_when_they_want_the_same_of_the_same_signature():
    model = EchoModel()
    with requests_to(model, parameters(2)) as requests:
        inputs = {"a": np.array([1]), "b": strings(b"x")}
        everything = [requests.send("two", inputs), requests.send("one", {"x": floats(1)})]
        filtered = [requests.send("two", inputs, ["b"]), requests.send("two", inputs, ("b",))]
        assert [answer(request).keys() for request in filtered] == [{"b"}, {"b"}]
        everything += [requests.send("two", inputs, ["b", "a"]), requests.send("one", {"x": floats(2)})]
        assert [answer(request).keys() for request in everything] == [{"a", "b"}, {"x"}, {"a", "b"}, {"x"}]
    assert len(model.batches()) == 3


def test_batches_are_filled_up_to_an_allowed_size_with_the_last_requests_first_row():
    model = EchoModel()
    told = []
    allowed = parameters(8, allowed_batch_sizes=(2, 6, 8), batch_timeout_micros=0)
    with requests_to(model, allowed, on_batch=lambda *batch: told.append(batch)) as requests:
        model.gate.clear()
        exact = requests.send("one", {"x": floats(1, 2)})
        assert model.running.get(timeout=PATIENCE_SECONDS)["x"].tolist() == [1, 2]
        padded = [requests.send("one", {"x": floats(*values)}) for values in ([3], [4, 5], [])]
        model.gate.set()
        assert answer(exact)["x"].tolist() == [1, 2]
        assert [answer(request)["x"].tolist() for request in padded] == [[3], [4, 5], []]
    assert [batch["x"].tolist() for batch in model.batches()] == [[3, 4, 5, 4, 4, 4]]
    assert [batch[:3] for batch in told] == [("one", 2, 2), ("one", 3, 6)]


def test_a_request_larger_than_a_batch_is_refused():
    with requests_to(EchoModel(), parameters(3)) as requests:
        refused = error(requests.send("one", {"x": floats(1, 2, 3, 4)}))
        assert refused.code is Code.INVALID_ARGUMENT
        assert refused.message == "Task size 4 is larger than maximum input batch size 3"


def test_a_large_request_is_split_where_that_is_enabled():
    model = EchoModel()
    splitting = parameters(10, enable_large_batch_splitting=True, max_execution_batch_size=4)
    with requests_to(model, splitting) as requests:
        first = requests.send("one", {"x": floats(1)})
        large = requests.send("one", {"x": floats(2, 3, 4, 5, 6, 7, 8, 9)})
        assert answer(first)["x"].tolist() == [1]
        last = requests.send("one", {"x": floats(10, 11, 12)})
        assert answer(large)["x"].tolist() == [2, 3, 4, 5, 6, 7, 8, 9]
        assert answer(last)["x"].tolist() == [10, 11, 12]
        assert (
            "Task size 11 is larger than maximum input batch size 10"
            in error(requests.send("one", {"x": np.zeros(11, np.float32)})).message
        )
    assert [batch["x"].tolist() for batch in model.batches()] == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]]


def test_batches_of_one_queue_are_run_side_by_side():
    model = EchoModel()
    splitting = parameters(2, enable_large_batch_splitting=True, max_execution_batch_size=1, num_batch_threads=2)
    with requests_to(model, splitting) as requests:
        model.gate.clear()
        request = requests.send("one", {"x": floats(1, 2)})
        running = [model.running.get(timeout=PATIENCE_SECONDS)["x"].tolist() for _ in range(2)]
        assert sorted(running) == [[1], [2]]
        model.gate.set()
        assert answer(request)["x"].tolist() == [1, 2]


@pytest.mark.parametrize("splitting", [False, True])
def test_a_full_queue_refuses_at_once_and_keeps_what_it_has(splitting):
    model = EchoModel()
    limits = parameters(2, batch_timeout_micros=0, max_enqueued_batches=1, enable_large_batch_splitting=splitting)
    with requests_to(model, limits) as requests:
        model.gate.clear()
        running = requests.send("one", {"x": floats(1)})
        model.running.get(timeout=PATIENCE_SECONDS)
        queued = requests.send("one", {"x": floats(2, 3)})
        refused = error(requests.send("one", {"x": floats(4)}))
        assert refused.code is Code.UNAVAILABLE
        assert "The batch scheduling queue to which this task was submitted is full" in refused.message
        assert (
            "task size is 1 but scheduling capacity is only 0 (num_enqueued_batches=1, max_enqueued_batches=1, "
            "open_batch_size=2, max_execution_batch_size=2)"
            if splitting
            else "currently 1 batches enqueued and max_enqueued_batches is 1"
        ) in refused.message
        other = requests.send("text", {"text": strings(b"a queue of its own")})
        model.gate.set()
        assert answer(running)["x"].tolist() == [1]
        assert answer(queued)["x"].tolist() == [2, 3]
        assert answer(other)["text"].tolist() == [b"a queue of its own"]


def test_expired_requests_are_not_run_and_the_others_are():
    model = EchoModel()
    told, dropped = [], []
    late = threading.Event()

    def left():
        return 0.0 if late.is_set() else 5.0

    hooks = {"on_batch": lambda *batch: told.append(batch), "on_expired": dropped.append}
    with requests_to(model, parameters(3, batch_timeout_micros=0), **hooks) as requests:
        model.gate.clear()
        running = requests.send("one", {"x": floats(1)}, time_left=left)
        model.running.get(timeout=PATIENCE_SECONDS)
        expired = [requests.send("one", {"x": floats(2)}, time_left=left)]
        waiting = requests.send("one", {"x": floats(3)}, time_left=lambda: 7.0)
        patient = requests.send("one", {"x": floats(4)}, time_left=lambda: 9.0)
        expired.append(requests.send("text", {"text": strings(b"alone")}, time_left=left))
        late.set()
        model.gate.set()
        for request in expired:
            assert error(request).code is Code.RESOURCE_EXHAUSTED
            assert error(request).message == "Run() timeout exceeded while waiting in batching queue"
        assert answer(running)["x"].tolist() == [1]
        assert answer(waiting)["x"].tolist() == [3]
        assert answer(patient)["x"].tolist() == [4]
    assert [batch["x"].tolist() for batch in model.batches()] == [[3, 4]]
    assert model.times_left == [5.0, 9.0]
    # Who has expired in a batch has been queued all the same.
    assert [(size, len(seconds)) for _, size, _, seconds in told] == [(1, 1), (2, 3)]
    assert [len(seconds) for seconds in dropped] == [1]


def test_what_fails_in_the_model_fails_its_whole_batch_and_no_other():
    class Failing(EchoModel):
        def run(self, signature_name, inputs, outputs=None, time_left=unlimited):
            if np.isnan(inputs["x"]).any():
                raise ServingError(Code.DATA_LOSS, "not a number")
            if (inputs["x"] < 0).any():
                raise RuntimeError("secret")
            return super().run(signature_name, inputs, outputs, time_left)

    with requests_to(Failing(), parameters(2)) as requests:
        failing = [requests.send("one", {"x": floats(value)}) for value in (1, np.nan)]
        assert [(error(request).code, error(request).message) for request in failing] == [
            (Code.DATA_LOSS, "not a number")
        ] * 2
        broken = [requests.send("one", {"x": floats(value)}) for value in (1, -1)]
        assert [error(request).code for request in broken] == [Code.INTERNAL] * 2
        assert "secret" not in error(broken[0]).message
        good = [requests.send("one", {"x": floats(value)}) for value in (1, 2)]
        assert [answer(request)["x"].tolist() for request in good] == [[1], [2]]


def test_closing_runs_what_is_queued_and_refuses_the_rest():
    model = EchoModel()
    with requests_to(model, parameters(100)) as requests:
        queued = [requests.send("one", {"x": floats(value)}) for value in range(3)]
        requests.model.close()
        assert [answer(request)["x"].tolist() for request in queued] == [[0], [1], [2]]
        assert error(requests.send("one", {"x": floats(4)})).code is Code.UNAVAILABLE
    assert model.closed


def test_models_share_the_threads_and_not_their_queues():
    first, second = EchoModel(), EchoModel()
    scheduler = BatchScheduler(parameters(1))
    batched = [BatchingModel(model, parameters(1), scheduler=scheduler) for model in (first, second)]
    with ThreadPoolExecutor() as threads:
        first.gate.clear()
        held_up = threads.submit(batched[0].run, "one", {"x": floats(1)})
        first.running.get(timeout=PATIENCE_SECONDS)
        waiting = threads.submit(batched[1].run, "one", {"x": floats(2)})
        assert second.running.empty()
        first.gate.set()
        assert answer(held_up)["x"].tolist() == [1]
        assert answer(waiting)["x"].tolist() == [2]
    for model in batched:
        model.close()
    scheduler.close()


def test_a_closed_model_is_not_held_on_to():
    scheduler = BatchScheduler(parameters(1))
    model = EchoModel()
    batched = BatchingModel(model, parameters(1), scheduler=scheduler)
    batched.run("one", {"x": floats(1)})
    batched.close()
    closed = weakref.ref(model)
    del batched, model
    gc.collect()
    assert closed() is None
    scheduler.close()


def test_a_request_by_tensor_names_is_the_models_own_business():
    with requests_to(EchoModel(), parameters(1)) as requests:
        assert requests.model.run_tensors({"x:0": floats(1)}, ["x:0"])[0].tolist() == [1]


def test_a_real_model_batched(written_models):
    told = []
    received = []
    model = load_saved_model(str(written_models / "showcase"))
    limits = parameters(4, num_batch_threads=2)
    with requests_to(
        model,
        limits,
        on_batch=lambda *batch: told.append(batch[:3]),
        on_request=lambda *request: received.append(request),
    ) as requests:
        assert requests.model.signatures.keys() == model.signatures.keys()
        halves = [requests.send("", {"x": floats(2 * n, 4 * n)}) for n in range(6)]
        sums = [requests.send("several", {"a": floats([n, 1]), "b": np.array([n])}, ["sum"]) for n in range(4)]
        texts = [requests.send("strings", {"text": strings(b"%d\0" % n)}) for n in range(4)]
        assert [answer(request)["y"].tolist() for request in halves] == [[n + 2, 2 * n + 2] for n in range(6)]
        assert [answer(request)["sum"].tolist() for request in sums] == [[2 * n + 1] for n in range(4)]
        assert [answer(request)["text_bytes"].tolist() for request in texts] == [[b"%d\0" % n] for n in range(4)]
        with pytest.raises(ServingError, match="input size does not match signature") as refused:
            requests.model.run("", {"x": floats(1), "more": floats(1)})
        assert refused.value.code is Code.INVALID_ARGUMENT
        with pytest.raises(ServingError, match="output tensor alias not found in signature: z"):
            requests.model.run("", {"x": floats(1)}, ["z"])
        with pytest.raises(ServingError, match='signature key "none" not found'):
            requests.model.run("none", {"x": floats(1)})
    assert sorted(told) == [("serving_default", 4, 4)] * 3 + [("several", 4, 4), ("strings", 4, 4)]
    assert received == [(2, 1)] * 6 + [(1, 2)] * 4 + [(1, 1)] * 4
