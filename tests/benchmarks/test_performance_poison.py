"""One corrupt picture among others: who is told what."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest
import tensorflow as tf

from benchmarks import load, models
from benchmarks.performance import poison, subjects
from benchmarks.performance.section import Bench
from benchmarks.performance.subjects import Running


def _fake(answer: Callable[[bytes], None]) -> Running:
    """A server that is a function of the picture."""

    def client(pictures: Sequence[bytes]) -> Callable[[], load.Send]:
        return lambda: partial(answer, pictures[0])

    return Running(client, lambda: 0.0, 0.0)


PICTURES = [b"good picture"]


def test_a_server_that_refuses_the_corrupt_ones_alone_loses_nothing() -> None:
    def answer(picture: bytes) -> None:
        if picture == poison.corrupt(PICTURES[0]):
            raise load.HttpError(400, b"no picture")

    outcome = poison.mixed(_fake(answer), PICTURES)
    assert (outcome.good, outcome.good_lost) == (300, 0)
    assert (outcome.bad, outcome.bad_refused, outcome.bad_answered) == (20, 20, 0)


def test_good_requests_that_fail_are_lost_and_500_is_no_refusal() -> None:
    def answer(picture: bytes) -> None:
        raise RuntimeError("HTTP 500: b'batch failed'")

    outcome = poison.mixed(_fake(answer), PICTURES, requests=32)
    assert (outcome.good, outcome.good_lost) == (30, 30)
    assert (outcome.bad, outcome.bad_refused, outcome.bad_answered) == (2, 0, 0)
    assert "HTTP 500" in outcome.example


def test_a_corrupt_picture_that_gets_an_answer_is_told_of() -> None:
    outcome = poison.mixed(_fake(lambda picture: None), PICTURES, requests=16)
    assert (outcome.bad, outcome.bad_refused, outcome.bad_answered) == (1, 0, 1)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (load.HttpError(422, b""), True),
        (load.HttpError(503, b"HTTP 400"), False),
        (RuntimeError("HTTP 400: b'...'"), True),
        (ConnectionResetError("reset"), False),
    ],
)
def test_a_refusal_blames_the_request(error: Exception, expected: bool) -> None:
    assert poison.is_refusal(error) is expected


class _Sizes(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
    def call(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        spec = tf.TensorSpec([3], tf.int32)
        sizes = tf.map_fn(lambda one: tf.shape(tf.io.decode_jpeg(one, 3)), image_bytes, fn_output_signature=spec)
        return {"size": sizes}


def test_the_embedded_server_refuses_half_a_picture_and_answers_the_others(tmp_path: Path) -> None:
    module = _Sizes()
    bench = Bench(None, tmp_path, 1, 1.0, 2)
    tf.saved_model.save(module, str(bench.models / "mobilenet" / "1"), signatures=module.call)
    with subjects.embedded(bench).start() as running:
        outcome = poison.mixed(running, models.photos(4), requests=64)
        assert running.start_seconds > 0
        assert (running.megabytes() or 0) > 50
    assert (outcome.good, outcome.good_lost) == (60, 0)
    assert (outcome.bad, outcome.bad_refused) == (4, 4)
