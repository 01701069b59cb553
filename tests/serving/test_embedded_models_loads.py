"""Loads that fail, and what they leave behind; loads that are called off and called for again."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator

import pytest
import tensorflow as tf
from filemodels import BROKEN, Shelf, wait_for
from processes import DEADLINE_SECONDS, wait_until

from vitrine_serving.embedded.errors import Code, ServingError, invalid_argument
from vitrine_serving.embedded.inference.saved_model import load_saved_model
from vitrine_serving.embedded.models.manager import RetryPolicy, ServableManager
from vitrine_serving.embedded.models.models import Models, ModelsOptions
from vitrine_serving.embedded.models.version import State


@pytest.fixture
def shelf(tmp_path) -> Iterator[Shelf]:
    with Shelf(tmp_path) as shelf:
        yield shelf


class Weights:
    """Stands for what a model keeps in memory."""


def test_a_load_that_fails_leaves_its_reason_and_nothing_else(shelf):
    shelf.put("m", 1)
    kept: list[weakref.ref[Weights]] = []

    def load(name: str, version: int, path: str):
        weights = Weights()
        kept.append(weakref.ref(weights))
        try:
            raise RuntimeError("deep down")
        except RuntimeError as error:
            raise invalid_argument("no good") from error

    models = Models(load, ModelsOptions(RetryPolicy(0)))
    models.start(shelf.config(m=""))
    wait_for(models, "m", 1, State.END)
    # It ends all references that last only for the load.
    models.stop(0)
    [status] = models.statuses("m")
    assert (status.error.code, status.error.message) == (Code.INVALID_ARGUMENT, "no good")
    gc.collect()
    assert [weights() for weights in kept] == [None]


def test_a_graph_that_cannot_be_restored_is_freed_without_the_garbage_collector(put_version):
    path = put_version("plus_two", 1, lambda version: (version / "variables" / "variables.index").write_bytes(b"no"))
    gc.collect()
    gc.disable()
    try:
        before = operations()
        with pytest.raises(ServingError):
            load_saved_model(str(path))
        assert operations() == before
    finally:
        gc.enable()


def operations() -> int:
    return sum(isinstance(one, tf.Operation) for one in gc.get_objects())


def test_the_longest_interval_between_tries_is_more_than_a_timer_takes(shelf, monkeypatch):
    failures: list[object] = []
    monkeypatch.setattr(threading, "excepthook", failures.append)
    version = shelf.put("m", 1, BROKEN)
    before = set(threading.enumerate())
    models = shelf.start(shelf.config(m=""), retries=1, interval=(2**63 - 1) / 1e6)
    wait_until(lambda: models.statuses("m")[0].error, "the load has failed")
    retries = [one for one in set(threading.enumerate()) - before if isinstance(one, threading.Timer)]
    (version / "saved_model.pb").write_text("mended")
    wait_for(models, "m", 1, State.AVAILABLE)
    for retry in retries:
        retry.join(DEADLINE_SECONDS)
    assert not failures


class WantedAgain:
    """The manager's lock, let go by a loading thread when another wants the version again."""

    def __init__(self, lock: threading.Condition, want) -> None:
        self._lock = lock
        self._want = want
        self.armed = False

    def __getattr__(self, name: str):
        return getattr(self._lock, name)

    def __enter__(self) -> bool:
        return self._lock.__enter__()

    def __exit__(self, *raised: object) -> None:
        self._lock.__exit__(*raised)
        if self.armed and threading.current_thread().name.startswith("model-load"):
            self.armed = False
            self._want()


def test_a_version_wanted_again_just_as_its_load_is_called_off(shelf):
    paths = {version: str(shelf.put("m", version)) for version in (1, 2)}
    manager = ServableManager(shelf.loader)
    lock = WantedAgain(manager._changed, lambda: manager.set_aspired("m", paths))
    manager._changed = lock
    with shelf.loader.held():
        manager.set_aspired("m", {2: paths[2]})
        wait_until(lambda: shelf.loader.loaded, "the only thread that loads is busy")
        manager.set_aspired("m", paths)
        manager.set_aspired("m", {2: paths[2]})
        # Of the two looks that end the load of version 2 and begin that of 1, the latter.
        manager._on_change = lambda: setattr(lock, "armed", True)
    wait_until(lambda: [status.state for status in manager.statuses("m")] == [State.AVAILABLE] * 2, "both versions")
    manager.stop(0)
