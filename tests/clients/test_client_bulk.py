"""`classify_many`: a bounded number under way, answers in order, memory flat."""

from __future__ import annotations

import asyncio
import itertools
import threading
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any

import grpc
import pytest
import tensorflow as tf
from client_standins import GrpcStandin
from PIL import Image
from processes import DEADLINE_SECONDS, wait_until
from tensorflow_serving.apis import predict_pb2

from vitrine_client import (
    AsyncGrpcClient,
    DeadlineExceeded,
    GrpcClient,
    InvalidInput,
    ModelNotFound,
    Overloaded,
    Prediction,
    Unavailable,
    VitrineError,
)


class Counter:
    """Answers with the size of each picture as its label; keeps the most requests that were there at once."""

    def __init__(self) -> None:
        self.present = self.most = self.count = 0
        self.batches: list[int] = []
        self._lock = threading.Lock()
        self.third = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()

    def __call__(self, path: str, request: bytes, context: grpc.ServicerContext) -> bytes:
        with self._lock:
            self.present += 1
            self.count += 1
            self.most = max(self.most, self.present)
            if self.present == 3:
                self.third.set()
        self.go_on.wait(DEADLINE_SECONDS)
        with self._lock:
            self.present -= 1
        pictures = predict_pb2.PredictRequest.FromString(request).inputs["image_bytes"].string_val
        self.batches.append(len(pictures))
        response = predict_pb2.PredictResponse()
        labels = [[str(len(content))] for content in pictures]
        response.outputs["labels"].CopyFrom(tf.make_tensor_proto(labels))
        response.outputs["scores"].CopyFrom(tf.make_tensor_proto([[1.0]] * len(labels)))
        return response.SerializeToString()


@pytest.fixture
def counter(grpc_standin: GrpcStandin) -> Counter:
    grpc_standin.answer = Counter()
    return grpc_standin.answer


def pictures(count: int) -> Iterator[bytes]:
    """GIFs of different lengths: comments of different lengths."""
    import io

    for number in range(count):
        buffer = io.BytesIO()
        Image.new("L", (1, 1)).save(buffer, "GIF", comment=b"c" * (number % 200))
        yield buffer.getvalue()


@pytest.fixture(params=["grpc", "aio"])
def classify_many(request: pytest.FixtureRequest, grpc_standin: GrpcStandin):
    """All answers of `classify_many`, of either client."""

    def collect(images: Any, **options: Any) -> list[Any]:
        client_options = options.pop("client", {})
        if request.param == "grpc":
            with GrpcClient(grpc_standin.target, model="m", **client_options) as client:
                return list(client.classify_many(images, **options))

        async def ask() -> list[Any]:
            async with AsyncGrpcClient(grpc_standin.target, model="m", **client_options) as client:
                return [answer async for answer in client.classify_many(images, **options)]

        return asyncio.run(ask())

    return collect


@pytest.mark.parametrize("batch_size", [1, 7])
def test_answers_come_in_order(classify_many, counter: Counter, batch_size: int):
    images = list(pictures(150))
    answers = classify_many(images, batch_size=batch_size, in_flight=2)
    assert [answer.label for answer in answers] == [str(len(image)) for image in images]
    assert sum(counter.batches) == 150
    assert max(counter.batches) == batch_size


def test_progress_is_told(classify_many, counter: Counter):
    for images, total in ((list(pictures(7)), 7), (pictures(7), None)):
        told: list[tuple[int, int | None]] = []
        classify_many(images, batch_size=3, progress=lambda done, of, told=told: told.append((done, of)))
        assert told == [(3, total), (6, total), (7, total)]


def test_no_more_are_under_way_and_taken_than_asked_for(grpc_standin: GrpcStandin, counter: Counter):
    counter.go_on.clear()
    taken = itertools.count()
    limit = threading.Event()

    def endless() -> Iterator[bytes]:
        for picture in itertools.cycle(list(pictures(3))):
            if next(taken) == 3:
                limit.set()
            yield picture

    with GrpcClient(grpc_standin.target, model="m") as client:
        answers = client.classify_many(endless(), in_flight=2)
        assert next(taken) == 0, "pictures were taken before they were asked for"
        reader = threading.Thread(target=next, args=[answers])
        reader.start()
        assert limit.wait(DEADLINE_SECONDS)
        wait_until(lambda: counter.present >= 2, "two requests")
        # It would come at once.
        assert not counter.third.wait(0.5)
        counter.go_on.set()
        reader.join(DEADLINE_SECONDS)
        answers.close()
        # As many again wait for their turn, no more.
        assert next(taken) <= 6
    assert counter.most <= 2


def test_leaving_early_ends_the_rest(grpc_standin: GrpcStandin, counter: Counter):
    async def first() -> Prediction:
        async with (
            AsyncGrpcClient(grpc_standin.target, model="m") as client,
            aclosing(client.classify_many(itertools.cycle(list(pictures(3))), in_flight=2)) as answers,
        ):
            async for answer in answers:
                return answer
        raise AssertionError

    assert asyncio.run(first()).score == 1.0
    before = threading.active_count()
    with GrpcClient(grpc_standin.target, model="m") as client:
        for _ in client.classify_many(itertools.cycle(list(pictures(3))), in_flight=2):
            break
    assert counter.count < 50
    for thread in threading.enumerate():
        if thread.name.startswith("vitrine-client"):
            thread.join(DEADLINE_SECONDS)
    assert threading.active_count() <= before + 2


def test_asynchronous_iterables_are_taken_too(grpc_standin: GrpcStandin, counter: Counter):
    async def arriving() -> AsyncIterator[bytes]:
        for picture in pictures(5):
            await asyncio.sleep(0)
            yield picture

    async def ask() -> list[str]:
        async with AsyncGrpcClient(grpc_standin.target, model="m") as client:
            return [answer.label async for answer in client.classify_many(arriving(), batch_size=2)]

    assert asyncio.run(ask()) == [str(len(picture)) for picture in pictures(5)]
    with GrpcClient(grpc_standin.target, model="m") as client, pytest.raises(InvalidInput, match="AsyncGrpcClient"):
        client.classify_many(arriving())  # type: ignore[arg-type]


@pytest.mark.parametrize("batch_size", [1, 3])
def test_faults_keep_their_positions(classify_many, counter: Counter, batch_size: int):
    images = list(pictures(7))
    images[2] = images[5] = b"no picture"
    answers = classify_many(images, batch_size=batch_size, on_error="return")
    assert [isinstance(answer, InvalidInput) for answer in answers] == [number in (2, 5) for number in range(7)]
    assert [answers[2].positions, answers[5].positions] == [(2,), (5,)]
    assert "images[5]" in str(answers[5])
    skipped = classify_many(images, batch_size=batch_size, on_error="skip")
    assert [answer.label for answer in skipped] == [str(len(images[number])) for number in (0, 1, 3, 4, 6)]
    with pytest.raises(InvalidInput, match=r"images\[2\]"):
        classify_many(images, batch_size=batch_size)


def test_failed_requests_are_returned_while_there_is_hope(classify_many, grpc_standin: GrpcStandin):
    counter, said = Counter(), "no"
    codes = {3: grpc.StatusCode.DEADLINE_EXCEEDED, 5: grpc.StatusCode.RESOURCE_EXHAUSTED}
    lengths = {len(picture): number for number, picture in enumerate(pictures(7))}

    def answer(path: str, request: bytes, context: grpc.ServicerContext) -> bytes:
        [picture] = predict_pb2.PredictRequest.FromString(request).inputs["image_bytes"].string_val
        code = codes.get(lengths[len(picture)])
        return context.abort(code, said) if code else counter(path, request, context)

    grpc_standin.answer = answer
    answers = classify_many(pictures(7), on_error="return", client={"retries": 0})
    errors = {number: type(answer) for number, answer in enumerate(answers) if isinstance(answer, VitrineError)}
    assert errors == {3: DeadlineExceeded, 5: Overloaded}
    said = 'Serving signature key "x" not found.'
    for code, error in (
        (grpc.StatusCode.NOT_FOUND, ModelNotFound),
        (grpc.StatusCode.UNAVAILABLE, Unavailable),
        (grpc.StatusCode.FAILED_PRECONDITION, InvalidInput),
    ):
        codes[3] = code
        with pytest.raises(error):
            classify_many(pictures(7), on_error="return", client={"retries": 0})


def test_memory_does_not_grow_with_the_number(grpc_standin: GrpcStandin, counter: Counter):
    large = Image.new("RGB", (300, 300))

    def many(count: int) -> Iterator[Image.Image]:
        return (large.copy() for _ in range(count))

    def peak(count: int) -> int:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        for _ in client.classify_many(many(count), in_flight=2):
            pass
        return tracemalloc.get_traced_memory()[1] - before

    with GrpcClient(grpc_standin.target, model="m") as client:
        tracemalloc.start()
        try:
            peak(10)
            few, lots = peak(20), peak(200)
        finally:
            tracemalloc.stop()
    assert lots < 3 * few


def test_errors_do_not_keep_their_pictures(grpc_standin: GrpcStandin):
    grpc_standin.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "no")
    large = Image.effect_noise((500, 500), 50)
    with GrpcClient(grpc_standin.target, model="m", retries=0) as client:
        tracemalloc.start()
        try:
            errors = list(client.classify_many((large.copy() for _ in range(100)), on_error="return", in_flight=2))
            kept = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
    assert [type(error) for error in errors] == [DeadlineExceeded] * 100
    # A picture is 250 kB.
    assert kept < 10 * 250_000


def test_wrong_numbers_are_told_at_once(grpc_standin: GrpcStandin):
    for client in (GrpcClient(grpc_standin.target, model="m"), AsyncGrpcClient(grpc_standin.target, model="m")):
        for wrong in ({"batch_size": 0}, {"in_flight": 1.5}, {"on_error": "no"}, {"timeout": -1}, {"max_side": 0}):
            with pytest.raises(InvalidInput, match=next(iter(wrong))):
                client.classify_many([b"x"], **wrong)
        with pytest.raises(InvalidInput, match=r"write \[picture\]"):
            client.classify_many("picture.png")
