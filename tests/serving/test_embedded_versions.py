"""New, broken and vanishing versions, put in place while the server answers."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import savedmodels
from callers import Caller
from processes import wait_until

ONE = np.ones(1, np.float32)
NO_WAIT = "--load_retry_interval_micros=10000"


def answer(server, version: int | None = None) -> float:
    return server.predict({"x": ONE}, version=version).outputs["y"].float_val[0]


def test_a_new_version_takes_over_without_a_failed_request(start_server, put_version):
    put_version("plus_two", 1)
    server = start_server(put_version.base_path)
    assert answer(server) == 2.5

    def rest_answer() -> float:
        return server.post({"instances": [1]}).json()["predictions"][0]

    with Caller(lambda: answer(server)) as grpc_caller, Caller(rest_answer) as rest:
        wait_until(lambda: grpc_caller.answers and rest.answers, "first answers")
        put_version("plus_three", "002")
        server.wait_for(1, "END")
        after = len(grpc_caller.answers)
        wait_until(lambda: len(grpc_caller.answers) > after + 20, "answers after the swap")
    assert not grpc_caller.failures
    assert not rest.failures
    assert set(grpc_caller.answers) == {2.5, 3.5}
    assert set(rest.answers) == {2.5, 3.5}
    assert grpc_caller.answers[-1] == 3.5
    assert server.states() == {2: ("AVAILABLE", ""), 1: ("END", "")}
    assert server.log.index("version 2: AVAILABLE") < server.log.index("version 1: UNLOADING")


def test_requests_in_a_version_finish_after_it_is_replaced(start_server, put_version):
    put_version("showcase", 1)
    server = start_server(put_version.base_path)
    waiting = savedmodels.BATCH_WAIT_SECONDS
    answers = []

    def ask() -> None:
        answers.append(server.predict({"x": ONE}, signature_name="batched").outputs["size"].int_val[0])

    with Caller(ask, threads=2) as caller:
        wait_until(lambda: answers, f"an answer, which takes {waiting} s")
        put_version("showcase", 2)
        server.wait_for(1, "END")
    assert not caller.failures


def test_a_broken_version_leaves_the_old_one_serving_and_says_why(start_server, put_version):
    put_version("plus_two", 1)
    server = start_server(put_version.base_path, NO_WAIT, "--max_num_load_retries=1")

    def spoil(version):
        (version / "saved_model.pb").write_bytes(b"not a SavedModel")

    broken = put_version("plus_three", 2, spoil)
    server.wait_for(2, "END")
    assert "saved_model.pb" in server.states()[2][1]
    assert "try 2 of 2" in server.log
    assert answer(server) == 2.5
    assert server.states()[1] == ("AVAILABLE", "")

    shutil.rmtree(broken)
    put_version("plus_three", 3)
    server.wait_for(3, "AVAILABLE")
    assert answer(server) == 3.5


def test_a_version_copied_in_bit_by_bit_is_served_once_it_is_whole(start_server, put_version, written_models):
    put_version("plus_two", 1)
    server = start_server(put_version.base_path)
    slow = put_version.base_path / "2"
    slow.mkdir()
    wait_until(lambda: "load failed (try 1 of 6)" in server.log, "the first try has failed")
    assert "Could not find SavedModel" in server.log
    assert server.states()[2] == ("LOADING", "")
    assert answer(server) == 2.5
    shutil.copytree(written_models / "plus_three" / "variables", slow / "variables")
    shutil.copy(written_models / "plus_three" / "saved_model.pb", slow)
    # Long before the minute between two tries is over.
    server.wait_for(2, "AVAILABLE")
    assert answer(server) == 3.5


def test_removing_the_highest_version_brings_the_one_before_back(start_server, put_version):
    put_version("plus_two", 1)
    newest = put_version("plus_three", 2)
    server = start_server(put_version.base_path)
    assert answer(server) == 3.5
    assert set(server.states()) == {2}
    with Caller(lambda: answer(server)) as caller:
        newest.rename(put_version.base_path / "withdrawn")
        server.wait_for(2, "END")
    assert not caller.failures
    assert answer(server) == 2.5


def test_a_base_path_without_versions_is_watched_until_one_comes_and_unloads_when_it_goes(start_server, put_version):
    server = start_server(put_version.base_path)
    assert f"Could not find base path {put_version.base_path}" in server.log
    put_version.base_path.mkdir()
    (put_version.base_path / "notes").mkdir()
    wait_until(lambda: "No versions of servable model found" in server.log, "the server complains")
    assert server.post({"instances": [1]}).status_code == 404
    version = put_version("plus_two", 1)
    server.wait_for(1, "AVAILABLE")
    assert answer(server, version=1) == 2.5
    version.rename(put_version.base_path / "gone")
    server.wait_for(1, "END")
    assert server.post({"instances": [1]}).status_code == 404


def test_a_base_path_that_vanishes_for_a_while_unloads_nothing(start_server, put_version):
    put_version("plus_two", 1)
    server = start_server(put_version.base_path)
    put_version.base_path.rename(put_version.base_path.with_name("elsewhere"))
    wait_until(lambda: "Could not find base path" in server.log, "the complaint")
    assert answer(server) == 2.5


def test_looking_only_once(start_server, put_version):
    put_version("plus_two", 1)
    server = start_server(put_version.base_path, "--file_system_poll_wait_seconds=0")
    put_version("plus_three", 2)
    assert answer(server) == 2.5
    assert set(server.states()) == {1}


def test_warm_up_requests_are_replayed_before_the_version_is_available(start_server, put_version):
    records = [savedmodels.predict_log("count", x=[1.0])] * 3 + [savedmodels.predict_log("", x=[1.0])]
    put_version("showcase", 1, lambda version: savedmodels.write_warmup(version, *records))
    server = start_server(put_version.base_path)
    assert server.predict({"x": ONE}, signature_name="count").outputs["calls"].int64_val[0] == 4
    assert "Replayed 4 warm-up requests" in server.log


def not_records(version):
    (version / "assets.extra").mkdir(exist_ok=True)
    (version / "assets.extra" / "tf_serving_warmup_requests").write_bytes(b"no TFRecord at all")


@pytest.mark.parametrize(
    ("prepare", "phrase"),
    [
        (not_records, "Please verify your warmup data is in TFRecord format"),
        (lambda version: savedmodels.write_warmup(version, b"\xff\xff"), "Failed to parse warmup record"),
        (
            lambda version: savedmodels.write_warmup(version, *[savedmodels.predict_log("", x=[1.0])] * 1001),
            "Number of warmup records exceeds the maximum (1000)",
        ),
        (lambda version: savedmodels.write_warmup(version, savedmodels.predict_log("none")), "not found"),
    ],
    ids=["no-tfrecord", "no-prediction-log", "too-many", "fails"],
)
def test_a_warm_up_that_cannot_be_replayed_fails_the_load(put_version, prepare, phrase):
    # In-process: the same function that the server's loader and a blessing call.
    from vitrine_serving.embedded.errors import ServingError
    from vitrine_serving.embedded.inference.saved_model import load_saved_model
    from vitrine_serving.embedded.inference.warmup import replay

    path = str(put_version("plus_two", 1, prepare))
    model = load_saved_model(path)
    with pytest.raises(ServingError) as raised:
        replay(model, path)
    model.close()
    assert phrase in raised.value.message


def test_a_version_with_a_broken_warm_up_is_not_served(start_server, put_version):
    put_version("plus_two", 1)
    server = start_server(put_version.base_path, "--max_num_load_retries=0")
    put_version("plus_three", 2, not_records)
    server.wait_for(2, "END")
    assert "warmup data" in server.states()[2][1]
    assert answer(server) == 2.5
