"""`vitrine-client bench`: a figure, what went wrong, and Ctrl-C."""

from __future__ import annotations

import itertools
import json
import re
import signal
import threading
from pathlib import Path

import grpc
import pytest
import tensorflow as tf
from client_commands import ROSE, in_terminal, run, started
from client_standins import GrpcStandin, RestStandin
from processes import DEADLINE_SECONDS, wait_until
from tensorflow_serving.apis import predict_pb2

# Time enough for a busy machine to answer a few requests.
QUICKLY = ["--seconds", "1", "--warm-up", "0.1"]


@pytest.fixture
def photos(tmp_path: Path, encode) -> Path:
    """Three pictures."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.png").write_bytes(encode(seed=number))
    return folder


def rose() -> bytes:
    response = predict_pb2.PredictResponse()
    response.outputs["labels"].CopyFrom(tf.make_tensor_proto([["rose"]]))
    response.outputs["scores"].CopyFrom(tf.make_tensor_proto([[0.75]]))
    return response.SerializeToString()


@pytest.mark.parametrize("transport", ["grpc", "rest"])
def test_it_measures_a_server(server, photos: Path, transport: str):
    asked = [photos, f"--{transport}", getattr(server, transport), "--model", "shapes", *QUICKLY]
    done = run("bench", *asked)
    assert done.returncode == 0
    header, figures = (re.split(r"\s{2,}", line) for line in done.stdout.splitlines())
    assert header == ["REQUESTS", "REQUESTS/S", "MEAN MS", "P50 MS", "P90 MS", "P99 MS", "ERRORS"]
    assert int(figures[0]) > 0
    assert figures[-1] == "0"
    assert "a quick figure" in done.stderr
    assert "share this machine" in done.stderr

    read = run("bench", *asked, "--concurrency", 2, "--json", "--quiet")
    assert (read.returncode, read.stderr) == (0, "")
    told = json.loads(read.stdout)
    assert (told["model"], told["pictures"], told["concurrency"], told["errors"]) == ("shapes", 3, 2, {})
    assert told["requests_per_second"] == pytest.approx(told["requests"] / told["seconds"], rel=0.01)
    assert told["seconds"] >= 1
    latency = told["latency_ms"]
    assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"]


def test_it_goes_round_the_pictures(rest_standin: RestStandin, photos: Path):
    rest_standin.body = ROSE
    assert run("bench", photos, "--rest", rest_standin.address, *QUICKLY).returncode == 0
    bodies = [body for _, _, body in rest_standin.asked]
    counts = [bodies.count(body) for body in set(bodies)]
    assert len(counts) == 3
    assert max(counts) - min(counts) <= 2


def test_it_keeps_as_many_requests_under_way_as_asked_for(grpc_standin: GrpcStandin, photos: Path):
    answer, lock, together, present = rose(), threading.Lock(), threading.Event(), []
    checked = threading.Event()

    def held(path: str, request: bytes, context: grpc.ServicerContext) -> bytes:
        with lock:
            present.append(request)
            if len(present) == 2:
                together.set()
        if checked.is_set():
            # From the second request on: one alone would wait for another one for ever.
            assert together.wait(DEADLINE_SECONDS)
        checked.set()
        with lock:
            present.remove(request)
        return answer

    grpc_standin.answer = held
    done = run("bench", photos, "--grpc", grpc_standin.target, "--concurrency", 2, *QUICKLY)
    assert done.returncode == 0
    assert together.is_set()


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_failed_requests_are_counted_by_kind(grpc_standin: GrpcStandin, photos: Path, form: list[str]):
    answer, asked = rose(), itertools.count()

    def overloaded(path: str, request: bytes, context: grpc.ServicerContext) -> bytes:
        if next(asked) % 2:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "the queue is full")
        return answer

    grpc_standin.answer = overloaded
    done = run("bench", photos, "--grpc", grpc_standin.target, "--retries", 0, *QUICKLY, *form)
    assert done.returncode == 1
    assert "for example: " in done.stderr
    assert "the queue is full" in done.stderr
    if form:
        told = json.loads(done.stdout)
        assert told["requests"] > 0
        assert list(told["errors"]) == ["Overloaded"]
    else:
        assert re.search(r"\d+ Overloaded$", done.stdout)


def test_what_cannot_work_is_told_at_once(server, closed_port: int, photos: Path, picture: bytes):
    asked = ["--grpc", server.grpc, "--model", "shapes", "--seconds", "600"]
    (photos / "broken.png").write_bytes(picture[: len(picture) // 2])
    (photos / "words.txt").write_text("no picture")
    for arguments, said in (
        ([photos, *asked], "broken.png"),
        ([photos / "words.txt", *asked], "words.txt"),
        ([photos / "none" / "*.png", *asked], "no picture"),
        ([photos / "0.png", *asked, "--model", "nope"], "'nope'"),
        ([photos / "0.png", "--grpc", f"localhost:{closed_port}", "--retries", 0], f"localhost:{closed_port}"),
    ):
        done = run("bench", *arguments)
        assert (done.returncode, done.stdout) == (1, "")
        [told] = done.stderr.splitlines()
        assert said in told


def test_an_interrupt_shows_what_was_measured_so_far(rest_standin: RestStandin, photos: Path):
    rest_standin.body = ROSE
    options = ["--rest", rest_standin.address, "--seconds", "600", "--warm-up", "0"]
    with started("bench", photos, *options, "--json") as process:
        wait_until(lambda: len(rest_standin.asked) > 50, "fifty requests")
        process.send_signal(signal.SIGINT)
        written, told = process.communicate(timeout=60)
    assert process.returncode == 130
    figures = json.loads(written)
    assert figures["interrupted"] is True
    assert figures["requests"] > 0
    assert figures["seconds"] < 600
    assert "Traceback" not in told


def test_an_interrupt_does_not_wait_for_a_server_that_hangs(rest_standin: RestStandin, photos: Path):
    rest_standin.body = ROSE
    options = ["--rest", rest_standin.address, "--seconds", "600", "--warm-up", "0", "--timeout", "600"]
    with started("bench", photos, *options) as process:
        wait_until(lambda: len(rest_standin.asked) > 20, "twenty requests")
        rest_standin.held.clear()
        process.send_signal(signal.SIGINT)
        written, _ = process.communicate(timeout=20)
    assert process.returncode == 130
    assert written.startswith("REQUESTS")


def test_colours_show_what_matters(rest_standin: RestStandin, photos: Path):
    rest_standin.body = ROSE
    done = in_terminal("bench", photos, "--rest", rest_standin.address, *QUICKLY)
    assert done.code == 0
    assert "\x1b[36m" in done.shown
