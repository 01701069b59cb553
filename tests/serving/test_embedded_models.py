"""Several models at once: which versions are served, and what is told of it."""

from __future__ import annotations

import queue
from collections.abc import Iterator

import pytest
from filemodels import Shelf, ask, refused, states, wait_for
from processes import DEADLINE_SECONDS

from vitrine_serving.embedded.errors import Code
from vitrine_serving.embedded.models.version import State

ALL = "model_version_policy { all {} }"


@pytest.fixture
def shelf(tmp_path) -> Iterator[Shelf]:
    with Shelf(tmp_path) as shelf:
        yield shelf


def test_models_have_versions_of_their_own(shelf):
    shelf.put("a", 1)
    shelf.put("b", 2)
    models = shelf.start(shelf.config(a="", b="", empty=""))
    assert (ask(models, "a"), ask(models, "b"), ask(models, "b", 2)) == ("a-1", "b-2", "b-2")
    refused(Code.NOT_FOUND, "Servable not found for request: Specific(a, 2)", ask, models, "a", 2)
    refused(Code.NOT_FOUND, "Servable not found for request: Latest(empty)", ask, models, "empty")
    assert models.serving() == {"a": True, "b": True, "empty": False}
    assert {name: [s.version for s in found] for name, found in models.models().items()} == {
        "a": [1],
        "b": [2],
        "empty": [],
    }
    shelf.put("b", 3)
    wait_for(models, "b", 2, State.END)
    assert (ask(models, "a"), ask(models, "b")) == ("a-1", "b-3")


def test_the_latest_two_versions(shelf):
    for version in (1, 2, 3):
        shelf.put("m", version)
    models = shelf.start(shelf.config(m="model_version_policy { latest { num_versions: 2 } }"))
    assert states(models, "m") == {3: "AVAILABLE", 2: "AVAILABLE"}
    assert shelf.loader.loaded[0].endswith("/3")
    shelf.put("m", 4)
    wait_for(models, "m", 4, State.AVAILABLE)
    wait_for(models, "m", 2, State.END)
    assert [status.version for status in models.statuses("m")] == [4, 3, 2]
    assert (ask(models, "m"), ask(models, "m", 3)) == ("m-4", "m-3")


def test_all_versions(shelf):
    shelf.put("m", 1)
    shelf.put("m", 2)
    models = shelf.start(shelf.config(m=ALL))
    shelf.put("m", 5)
    wait_for(models, "m", 5, State.AVAILABLE)
    assert [ask(models, "m", version) for version in (1, 2, 5)] == ["m-1", "m-2", "m-5"]
    shelf.remove("m", 5)
    wait_for(models, "m", 5, State.END)
    assert ask(models, "m") == "m-2"


def test_specific_versions_of_which_one_is_missing_at_first(shelf, caplog):
    for version in (1, 2, 3):
        shelf.put("m", version)
    policy = "model_version_policy { specific { versions: 2 versions: 7 } }"
    models = shelf.start(shelf.config(m=policy))
    assert states(models, "m") == {2: "AVAILABLE"}
    assert "Version 7 of servable m, which was requested to be served as a 'specific' version" in caplog.text
    shelf.put("m", 7)
    wait_for(models, "m", 7, State.AVAILABLE)
    assert caplog.text.count("Version 7 of servable m, which") == 1


def test_who_subscribes_is_told_what_serves(shelf):
    shelf.put("a", 1)
    models = shelf.start(shelf.config(a=""))
    told: queue.Queue[dict[str, bool]] = queue.Queue()

    def fail(_: object) -> None:
        raise RuntimeError("a subscriber that fails")

    models.on_change(fail)
    models.on_change(told.put)
    # Asking back from a callback works: no lock is held.
    models.on_change(lambda _: models.models())

    def wait_until_told(expected: dict[str, bool]) -> None:
        while told.get(timeout=DEADLINE_SECONDS) != expected:
            pass

    wait_until_told({"a": True})
    shelf.put("b", 1)
    models.reload(shelf.config(a="", b=""))
    wait_until_told({"a": True, "b": True})
    shelf.remove("a", 1)
    wait_until_told({"a": False, "b": True})
    models.reload(shelf.config(b=""))
    wait_until_told({"b": True})
    models.stop(0)
    wait_until_told({"b": False})
