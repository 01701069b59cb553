"""Storage that fails, files that come and go, and changes of every kind under load."""

from __future__ import annotations

import concurrent.futures
import contextlib
import errno
import os
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from filemodels import BROKEN, POLL_SECONDS, Shelf, ask, states, wait_for
from processes import DEADLINE_SECONDS, wait_until

from vitrine_serving.embedded.errors import ServingError
from vitrine_serving.embedded.inference.saved_model import load_saved_model
from vitrine_serving.embedded.models.config import single_model_config
from vitrine_serving.embedded.models.models import Models, ModelsOptions
from vitrine_serving.embedded.models.version import State


@pytest.fixture
def shelf(tmp_path) -> Iterator[Shelf]:
    with Shelf(tmp_path) as shelf:
        yield shelf


class Crowd:
    """Threads that ask without pause; leaving the block stops them and raises what any of them met."""

    def __init__(self, question, threads: int = 2) -> None:
        self.answers: list[object] = []
        self._question = question
        self._stopped = threading.Event()
        self._pool = concurrent.futures.ThreadPoolExecutor(threads)
        self._threads = threads

    def __enter__(self) -> Crowd:
        self._running = [self._pool.submit(self._run) for _ in range(self._threads)]
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._pool.shutdown()
        for running in self._running:
            running.result()

    def _run(self) -> None:
        while not self._stopped.is_set():
            self.answers.append(self._question())


def test_twenty_swaps_of_a_real_model_under_load(put_version):
    put_version("plus_two", 1)
    models = Models(
        lambda name, version, path: load_saved_model(path), ModelsOptions(file_system_poll_wait_seconds=POLL_SECONDS)
    )

    def predict() -> float:
        servable = models.acquire("m")
        try:
            return float(servable.model.run("", {"x": np.ones(1, np.float32)})["y"][0])
        finally:
            servable.release()

    models.start(single_model_config("m", str(put_version.base_path)))
    assert models.wait_until_settled(DEADLINE_SECONDS)
    with Crowd(predict, threads=4) as crowd:
        for version in range(2, 22):
            put_version("plus_three" if version % 2 else "plus_two", version)
            wait_for(models, "m", version - 1, State.END)
            shutil.rmtree(put_version.base_path / str(version - 1))
    assert set(crowd.answers) == {2.5, 3.5}
    assert predict() == 3.5
    models.stop(DEADLINE_SECONDS)
    with pytest.raises(ServingError, match="Servable not found"):
        predict()


@contextlib.contextmanager
def superseded_or_served() -> Iterator[None]:
    try:
        yield
    except ServingError as error:
        # The second when yet a later list has brought the model back before the reason was looked for.
        reasons = {"a later list leaves it out", "no versions found under its base path"}
        assert set(re.findall(r"due to error: ([^}]*)", error.message)) <= reasons, error


def test_reloads_race_with_requests_and_appearing_versions(shelf):
    shelf.put("kept", 1)
    for number in range(6):
        shelf.put(f"m{number}", 1)
    models = shelf.start(shelf.config(kept=""), num_load_threads=3)

    def reload(number: int) -> None:
        others = {f"m{(number + k) % 6}": "" for k in range(3)}
        with superseded_or_served():
            models.reload(shelf.config(kept="model_version_policy { all {} }" if number % 2 else "", **others))

    with Crowd(lambda: ask(models, "kept"), threads=1) as crowd, concurrent.futures.ThreadPoolExecutor(3) as pool:
        reloads = [pool.submit(reload, number) for number in range(12)]
        for version in range(2, 12):
            shelf.put("kept", version)
        for done in reloads:
            done.result(DEADLINE_SECONDS)
        wait_for(models, "kept", 11, State.AVAILABLE)
    assert {int(str(answer).split("-")[1]) for answer in crowd.answers} <= set(range(1, 12))
    models.reload(shelf.config())
    wait_until(lambda: all(model.closed for model in shelf.loader.models), "everything is unloaded")


def test_a_base_path_that_vanishes_during_requests(shelf, caplog):
    shelf.put("m", 1)
    models = shelf.start(shelf.config(m=""))
    servable = models.acquire("m")
    with Crowd(lambda: ask(models, "m")):
        (shelf.folder / "m").rename(shelf.folder / "elsewhere")
        wait_until(lambda: "Could not find base path" in caplog.text, "the complaint")
    assert servable.model.run() == "m-1"
    servable.release()
    # Back as an empty folder there is nothing to serve any more.
    (shelf.folder / "m").mkdir()
    wait_for(models, "m", 1, State.END)
    shelf.put("m", 1, "again")
    wait_for(models, "m", 1, State.AVAILABLE)
    assert ask(models, "m") == "again"


def test_a_version_directory_that_vanishes_during_a_request(shelf):
    shelf.put("m", 1)
    models = shelf.start(shelf.config(m=""))
    servable = models.acquire("m")
    shelf.remove("m", 1)
    wait_for(models, "m", 1, State.UNLOADING)
    with pytest.raises(ServingError, match="Servable not found"):
        models.acquire("m")
    assert servable.model.run() == "m-1"
    servable.release()
    wait_for(models, "m", 1, State.END)
    assert servable.model.closed


def test_a_base_path_that_turns_into_a_file_unloads_nothing_and_stops_no_other_model(shelf, caplog):
    shelf.put("a", 1)
    shelf.put("b", 1)
    models = shelf.start(shelf.config(a="", b=""))
    (shelf.folder / "a").rename(shelf.folder / "elsewhere")
    (shelf.folder / "a").write_text("")
    wait_until(lambda: "Could not find base path" in caplog.text, "the complaint")
    shelf.put("b", 2)
    wait_for(models, "b", 2, State.AVAILABLE)
    assert (ask(models, "a"), ask(models, "b")) == ("a-1", "b-2")
    (shelf.folder / "a").unlink()
    (shelf.folder / "elsewhere").rename(shelf.folder / "a")
    shelf.put("a", 2)
    wait_for(models, "a", 2, State.AVAILABLE)


@pytest.mark.parametrize("error", [PermissionError(errno.EACCES, "Permission denied"), OSError(errno.EIO, "I/O error")])
def test_a_disk_that_fails_for_a_while(shelf, monkeypatch, caplog, error):
    shelf.put("m", 1)
    models = shelf.start(shelf.config(m=""))

    def fail(_: Path) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(Path, "iterdir", fail)
        shelf.put("m", 2)
        wait_until(lambda: error.strerror in caplog.text, "the complaint")
        assert ask(models, "m") == "m-1"
    wait_for(models, "m", 2, State.AVAILABLE)
    assert caplog.text.count(error.strerror) == 1


def test_a_version_that_is_a_file_and_names_no_one_can_decode(shelf):
    shelf.put("m", 1)
    (shelf.folder / "m" / "2").write_text("")
    (shelf.folder / "m" / os.fsdecode(b"\xff3")).mkdir()
    models = shelf.start(shelf.config(m="model_version_policy { all {} }"))
    [failed, serving] = models.statuses("m")
    assert (failed.version, failed.state) == (2, State.END)
    assert "Could not find SavedModel" in failed.error.message
    assert (serving.version, serving.state, serving.error) == (1, State.AVAILABLE, None)


def test_a_loader_that_crashes_leaves_the_others_to_load(shelf):
    shelf.put("m", 1)

    def load(name: str, version: int, path: str):
        if path.endswith("/2"):
            raise RuntimeError("what no one thought of")
        return shelf.loader(name, version, path)

    shelf.put("m", 2)
    models = Models(load, ModelsOptions(file_system_poll_wait_seconds=POLL_SECONDS))
    models.start(shelf.config(m="model_version_policy { all {} }"))
    wait_for(models, "m", 1, State.AVAILABLE)
    assert "RuntimeError: what no one thought of" in models.statuses("m")[0].error.message
    models.stop(0)


def test_a_load_that_fails_is_tried_again_as_often_as_told(shelf):
    version = shelf.put("m", 1, BROKEN)
    models = shelf.start(shelf.config(m=""), retries=2, interval=0.01)
    wait_for(models, "m", 1, State.END)
    assert len(shelf.loader.loaded) == 3
    # Mended, it is tried once more.
    (version / "saved_model.pb").write_text("mended")
    wait_for(models, "m", 1, State.AVAILABLE)
    assert models.statuses("m")[0].error is None


def test_a_failing_version_that_goes_away_is_not_tried_again(shelf):
    shelf.put("m", 1, BROKEN)
    models = shelf.start(shelf.config(m=""), retries=1000, interval=60)
    assert states(models, "m") == {1: "LOADING"}
    shelf.remove("m", 1)
    wait_for(models, "m", 1, State.END)
    shelf.put("m", 1)
    wait_for(models, "m", 1, State.AVAILABLE)


def test_a_version_replaced_while_it_waits_for_its_turn_to_load(shelf):
    shelf.put("m", 1)
    models = shelf.models()
    with shelf.loader.held():
        models.start(shelf.config(m=""))
        wait_until(lambda: shelf.loader.loaded, "the load has begun")
        shelf.put("m", 2)
        wait_for(models, "m", 2, State.START)
        shelf.put("m", 3)
        wait_for(models, "m", 3, State.START)
    wait_for(models, "m", 3, State.AVAILABLE)
    wait_for(models, "m", 1, State.END)
    wait_for(models, "m", 2, State.END)
    assert not [path for path in shelf.loader.loaded if path.endswith("/2")]
    assert ask(models, "m") == "m-3"


def test_as_many_versions_load_at_once_as_told(shelf):
    for name in "abc":
        shelf.put(name, 1)
    models = shelf.models(num_load_threads=2)
    with shelf.loader.held():
        models.start(shelf.config(a="", b="", c=""))
        wait_until(lambda: len(shelf.loader.loaded) == 2, "two loads")
        assert sorted(states(models, name)[1] for name in "abc") == ["LOADING", "LOADING", "START"]
    assert models.wait_until_settled(DEADLINE_SECONDS)
    assert models.serving() == {"a": True, "b": True, "c": True}


def test_more_versions_load_at_once_until_the_first_have_settled(shelf):
    for name in "ab":
        shelf.put(name, 1)
    models = shelf.models(num_initial_load_threads=2)
    with shelf.loader.held():
        models.start(shelf.config(a="", b=""))
        wait_until(lambda: len(shelf.loader.loaded) == 2, "both load at once")
    assert models.wait_until_settled(DEADLINE_SECONDS)
    for name in "ab":
        shelf.put(name, 2)
    with shelf.loader.held():
        wait_until(lambda: len(states(models, "a")) + len(states(models, "b")) == 4, "both are seen")
        wait_until(lambda: len(shelf.loader.loaded) == 3, "one of them loads")
        assert sorted(states(models, name)[2] for name in "ab") == ["LOADING", "START"]
    for name in "ab":
        wait_for(models, name, 2, State.AVAILABLE)


def test_looking_once_and_never(shelf):
    shelf.put("m", 1)
    once = shelf.start(shelf.config(m=""), poll=0)
    never = shelf.start(shelf.config(m=""), poll=-1)
    assert (once.serving(), never.serving()) == ({"m": True}, {"m": False})
    shelf.put("n", 1)
    once.reload(shelf.config(m="", n=""))
    assert ask(once, "n") == "n-1"


def test_models_at_an_address_that_tensorflow_reads(shelf, written_models):
    """ram:// stands for gs://: TensorFlow's own file system, none of the operating system's."""

    def put(version: str) -> None:
        for source in filter(Path.is_file, written_models.glob("plus_two/**/*")):
            target = f"ram://store/m/{version}/{source.relative_to(written_models / 'plus_two')}"
            tf.io.gfile.makedirs(target.rpartition("/")[0])
            tf.io.gfile.copy(str(source), target)

    put("1")
    # It looks when it is told to: here, too, a version comes file by file, and would be loaded without its variables.
    models = Models(lambda name, version, path: load_saved_model(path), ModelsOptions(file_system_poll_wait_seconds=0))
    models.start(single_model_config("m", "ram://store/m"))
    wait_for(models, "m", 1, State.AVAILABLE)
    put("0002")
    models.reload(single_model_config("m", "ram://store/m"))
    wait_for(models, "m", 2, State.AVAILABLE)
    servable = models.acquire("m")
    assert servable.model.run("", {"x": np.ones(1, np.float32)})["y"][0] == 2.5
    servable.release()
    models.stop(DEADLINE_SECONDS)
    tf.io.gfile.rmtree("ram://store/m")
