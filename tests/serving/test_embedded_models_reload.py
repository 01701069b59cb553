"""Changes of the list of models, and the labels it gives their versions."""

from __future__ import annotations

import concurrent.futures
import contextlib
import logging
from collections.abc import Iterator

import pytest
from filemodels import BROKEN, Shelf, ask, refused, wait_for
from processes import DEADLINE_SECONDS, wait_until
from tensorflow_serving.config import model_server_config_pb2

from vitrine_serving.embedded.errors import Code, ServingError
from vitrine_serving.embedded.models.labels import LabelPolicy
from vitrine_serving.embedded.models.version import State

ALL = "model_version_policy { all {} }"


def label(**versions: int) -> str:
    return " ".join(f'version_labels {{ key: "{name}" value: {version} }}' for name, version in versions.items())


@pytest.fixture
def shelf(tmp_path) -> Iterator[Shelf]:
    with Shelf(tmp_path) as shelf:
        yield shelf


def test_labels_stand_for_versions(shelf):
    for version in (1, 2):
        shelf.put("m", version)
    models = shelf.start(shelf.config(m=ALL))
    refused(Code.INVALID_ARGUMENT, "Unrecognized servable version label: stable", ask, models, "m", None, "stable")
    models.reload(shelf.config(m=ALL + label(stable=1, canary=2)))
    assert (ask(models, "m", label="stable"), ask(models, "m", label="canary")) == ("m-1", "m-2")
    models.reload(shelf.config(m=ALL + label(stable=2)))
    assert ask(models, "m", label="stable") == "m-2"
    refused(Code.INVALID_ARGUMENT, "Unrecognized servable version label: canary", ask, models, "m", None, "canary")
    refused(Code.INVALID_ARGUMENT, "Unrecognized servable version label: stable", ask, models, "n", None, "stable")
    shelf.remove("m", 2)
    wait_for(models, "m", 2, State.END)
    refused(Code.NOT_FOUND, "Specific(m, 2)", ask, models, "m", None, "stable")


UNAVAILABLE = "Request to assign label to version 2 of model m, which is not currently available for inference"


def test_a_label_for_a_version_that_is_not_available_is_refused_and_the_list_with_it(shelf):
    shelf.put("m", 1)
    shelf.put("n", 1)
    refused(Code.FAILED_PRECONDITION, "version 1 of model m", shelf.models().start, shelf.config(m=label(a=1)))
    models = shelf.start(shelf.config(m=""))
    models.reload(shelf.config(m=label(a=1)))
    refused(Code.FAILED_PRECONDITION, UNAVAILABLE, models.reload, shelf.config(m=label(a=2), n=""))
    assert ask(models, "m", label="a") == "m-1"
    assert models.serving() == {"m": True}
    assert models.config == shelf.config(m=label(a=1))


def test_new_labels_may_be_allowed_for_versions_to_come(shelf):
    shelf.put("m", 1)
    models = shelf.start(shelf.config(m=label(a=1)), labels=LabelPolicy(allow_for_unavailable=True))
    models.reload(shelf.config(m=ALL + label(a=1, b=2)))
    refused(Code.NOT_FOUND, "Specific(m, 2)", ask, models, "m", None, "b")
    # Only a label that is new, or stays where it is, may point at nothing.
    refused(Code.FAILED_PRECONDITION, UNAVAILABLE, models.reload, shelf.config(m=ALL + label(a=2, b=2)))
    shelf.put("m", 2)
    wait_for(models, "m", 2, State.AVAILABLE)
    assert ask(models, "m", label="b") == "m-2"
    models.reload(shelf.config(m=ALL + label(a=2, b=2)))
    assert ask(models, "m", label="a") == "m-2"


def test_any_label_may_be_forced(shelf):
    shelf.put("m", 1)
    models = shelf.start(shelf.config(m=label(a=1)), labels=LabelPolicy(force_allow_for_unavailable=True))
    models.reload(shelf.config(m=label(a=2)))
    refused(Code.NOT_FOUND, "Specific(m, 2)", ask, models, "m", None, "a")


def test_a_reload_replaces_the_list_and_returns_when_what_is_new_is_available(shelf):
    shelf.put("a", 1)
    shelf.put("b", 1)
    models = shelf.start(shelf.config(a=""))
    models.reload(shelf.config(b=""))
    assert ask(models, "b") == "b-1"
    wait_for(models, "a", 1, State.END)
    refused(Code.NOT_FOUND, "Latest(a)", ask, models, "a")
    models.reload(shelf.config(a="", b=""))
    assert (ask(models, "a"), ask(models, "b")) == ("a-1", "b-1")
    models.reload(shelf.config())
    wait_for(models, "a", 1, State.END)
    wait_for(models, "b", 1, State.END)
    assert models.serving() == {}
    assert all(model.closed for model in shelf.loader.models)


def test_a_model_taken_off_the_list_and_put_back_before_its_last_request_is_done(shelf):
    shelf.put("m", 1)
    models = shelf.start(shelf.config(m=""))
    servable = models.acquire("m")
    models.reload(shelf.config())
    wait_for(models, "m", 1, State.UNLOADING)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        reload = pool.submit(models.reload, shelf.config(m=""))
        wait_until(lambda: models.config == shelf.config(m=""), "the list is accepted")
        assert servable.model.run() == "m-1"
        servable.release()
        reload.result(DEADLINE_SECONDS)
    assert ask(models, "m") == "m-1"
    assert servable.model.closed


def test_a_policy_may_change(shelf):
    for version in (1, 2):
        shelf.put("m", version)
    models = shelf.start(shelf.config(m=""))
    models.reload(shelf.config(m=ALL))
    wait_for(models, "m", 1, State.AVAILABLE)
    models.reload(shelf.config(m="model_version_policy { specific { versions: 1 } }"))
    wait_for(models, "m", 2, State.END)
    assert ask(models, "m") == "m-1"


def test_a_list_whose_new_model_cannot_be_loaded_is_kept_and_reported(shelf):
    shelf.put("good", 1)
    shelf.put("bad", 1, BROKEN)
    models = shelf.start(shelf.config(good=""))
    config = shelf.config(good="", bad="", none="")
    refused(
        Code.UNKNOWN,
        "2 model(s) did not become available: {{{name: bad version: 1} due to error: INVALID_ARGUMENT: ",
        models.reload,
        config,
    )
    assert models.config == config
    assert ask(models, "good") == "good-1"
    shelf.put("none", 1)
    wait_for(models, "none", 1, State.AVAILABLE)
    # What is not new is not waited for.
    models.reload(shelf.config(good="", bad=""))
    models.reload(shelf.config(good=""))


def test_a_corrected_base_path_has_its_failed_version_tried_again(shelf):
    shelf.put("wrong", 1, BROKEN)
    shelf.put("right", 1)
    config = shelf.config(wrong="")
    config.model_config_list.config[0].name = "m"
    models = shelf.start(config)
    config.model_config_list.config[0].base_path = str(shelf.folder / "right")
    models.reload(config)
    wait_for(models, "m", 1, State.AVAILABLE)
    assert ask(models, "m") == "right-1"


def test_a_list_of_another_kind_is_refused(shelf):
    shelf.put("m", 1)
    models = shelf.start(model_server_config_pb2.ModelServerConfig())
    assert models.models() == {}
    models.reload(shelf.config(m=""))
    custom = model_server_config_pb2.ModelServerConfig()
    custom.custom_model_config.SetInParent()
    for config in (custom, model_server_config_pb2.ModelServerConfig()):
        refused(Code.FAILED_PRECONDITION, "Cannot transition to requested config.", models.reload, config)
    other = shelf.config(m="")
    other.model_config_list.config[0].model_platform = "caffe"
    refused(
        Code.INVALID_ARGUMENT,
        "Illegal to change a model's platform. For model m platform was tensorflow and new platform requested is caffe",
        models.reload,
        other,
    )
    assert ask(models, "m") == "m-1"


def test_a_model_that_cannot_be_loaded_holds_up_no_later_list(shelf):
    shelf.put("bad", 1, BROKEN)
    shelf.put("good", 1)
    models = shelf.start(shelf.config(), retries=1000)
    with concurrent.futures.ThreadPoolExecutor(2) as pool, contextlib.ExitStack() as stack:
        stack.callback(models.stop, 0)
        first = pool.submit(models.reload, shelf.config(bad=""))
        wait_until(lambda: models.config == shelf.config(bad=""), "the list is accepted")
        pool.submit(models.reload, shelf.config(bad="", good="")).result(DEADLINE_SECONDS)
        assert ask(models, "good") == "good-1"
        assert not first.done()
        for _ in range(2):
            pool.submit(models.reload, shelf.config(good="")).result(DEADLINE_SECONDS)
        reason = "{{{name: bad} due to error: a later list leaves it out}, }"
        refused(Code.UNKNOWN, reason, first.result, DEADLINE_SECONDS)


def test_a_reload_ends_well_when_a_later_list_corrects_its_base_path(shelf):
    shelf.put("wrong", 1, BROKEN)
    shelf.put("right", 1)
    wrong, right = shelf.config(wrong=""), shelf.config(right="")
    for config in (wrong, right):
        config.model_config_list.config[0].name = "m"
    models = shelf.start(shelf.config(), retries=1000)
    with concurrent.futures.ThreadPoolExecutor(2) as pool, contextlib.ExitStack() as stack:
        stack.callback(models.stop, 0)
        first = pool.submit(models.reload, wrong)
        wait_until(lambda: models.statuses("m") and models.statuses("m")[0].error, "the load has failed")
        pool.submit(models.reload, right).result(DEADLINE_SECONDS)
        first.result(DEADLINE_SECONDS)
        assert ask(models, "m") == "right-1"


@pytest.mark.parametrize("timeout", [0, -1.0])
def test_a_reload_whose_time_is_up_leaves_its_list_in_place(shelf, timeout):
    shelf.put("good", 1)
    shelf.put("bad", 1, BROKEN)
    models = shelf.start(shelf.config(good=""), retries=1000)
    config = shelf.config(good="", bad="")
    phrase = "Timed out waiting for models to become available: bad"
    refused(Code.DEADLINE_EXCEEDED, phrase, models.reload, config, timeout)
    assert models.config == config


def test_a_reload_may_have_more_time_than_can_be_waited(shelf):
    shelf.put("m", 1)
    models = shelf.start(shelf.config())
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        with shelf.loader.held():
            reload = pool.submit(models.reload, shelf.config(m=""), 1e12)
            wait_until(lambda: shelf.loader.loaded, "the load has begun")
        reload.result(DEADLINE_SECONDS)


def test_the_same_list_sent_again_waits_with_the_first(shelf):
    shelf.put("m", 1)
    models = shelf.start(shelf.config())
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        with shelf.loader.held():
            first = pool.submit(models.reload, shelf.config(m=""))
            wait_until(lambda: models.config == shelf.config(m=""), "the list is accepted")
            phrase = "Timed out waiting for models to become available: m"
            refused(Code.DEADLINE_EXCEEDED, phrase, models.reload, shelf.config(m=""), 0)
        first.result(DEADLINE_SECONDS)
    models.reload(shelf.config(m=""), 0)


def test_a_reload_ends_when_the_models_stop(shelf):
    shelf.put("m", 1)
    models = shelf.start(shelf.config())
    with concurrent.futures.ThreadPoolExecutor(1) as pool, shelf.loader.held():
        reload = pool.submit(models.reload, shelf.config(m=""))
        wait_until(lambda: shelf.loader.loaded, "the load has begun")
        models.stop(0)
        assert isinstance(reload.exception(DEADLINE_SECONDS), ServingError)


def test_a_config_file_is_followed(shelf, caplog):
    caplog.set_level(logging.ERROR)
    for name in ("a", "b"):
        shelf.put(name, 1)
    path = shelf.folder / "models.config"
    path.write_text(str(shelf.config(a="")))
    models = shelf.start(shelf.config(a=""))
    models.watch_config_file(str(path), 0.02)
    path.write_text(str(shelf.config(a="", b="")))
    wait_until(lambda: models.serving() == {"a": True, "b": True}, "both models")
    path.write_text("model_config_list { no such field")
    wait_until(lambda: "Failed to read ModelServerConfig file: Invalid protobuf file" in caplog.text, "the complaint")
    path.write_text(str(shelf.config(a=label(next=2))))
    wait_until(lambda: "Request to assign label to version 2 of model a" in caplog.text, "the refusal")
    assert models.serving() == {"a": True, "b": True}
    # A list that was refused is tried again: what it asks for may be there by now.
    shelf.put("a", 2)
    wait_until(lambda: models.serving() == {"a": True}, "the list is accepted")
    assert ask(models, "a", label="next") == "a-2"
    assert caplog.text.count("Request to assign label") == 1
