"""Lists of models that change while the server runs: sent by a client, or in the file it watches."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from callers import Caller
from embedded_server import ModelServer, refused, running_server, status_of
from modelconfigs import ALL, labels, model_list, write_model_list
from processes import DEADLINE_SECONDS, free_port, wait_until
from tensorflow_serving.apis import model_management_pb2
from tensorflow_serving.config import model_server_config_pb2

ONE = {"x": np.ones(1, np.float32)}
TWO, THREE = 2.5, 3.5


@pytest.fixture(scope="module")
def folder(tmp_path_factory, written_models) -> Path:
    """Base paths `two`, `three`, `both` and `watched`; in `both` version 1 adds two and version 2 three."""
    folder = tmp_path_factory.mktemp("reload")
    for path, model in {
        "two/1": "two",
        "three/1": "three",
        "both/1": "two",
        "both/2": "three",
        "watched/1": "two",
    }.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).symlink_to(written_models / f"plus_{model}")
    return folder


@pytest.fixture(scope="module")
def configured(folder) -> Iterator[ModelServer]:
    """A server with a file it reads once."""
    path = write_model_list(folder / "once.config", model_list(folder, two=""))
    with running_server(
        None,
        folder / "once.log",
        f"--model_config_file={path}",
        "--model_config_file_poll_wait_seconds=0",
        "--rest_api_extensions",
    ) as server:
        yield server


@pytest.fixture
def server(configured, folder) -> ModelServer:
    """Back to the one model `two`."""
    reload(configured, model_list(folder, two=""))
    return configured


def reload(
    server: ModelServer, config: model_server_config_pb2.ModelServerConfig
) -> model_management_pb2.ReloadConfigResponse:
    request = model_management_pb2.ReloadConfigRequest(config=config)
    return server.models.HandleReloadConfigRequest(request, timeout=DEADLINE_SECONDS)


def answer(server: ModelServer, model: str, **target) -> float:
    return server.predict(ONE, model=model, **target).outputs["y"].float_val[0]


def rest_answer(server: ModelServer, model: str, path: str = "") -> float:
    return server.post({"instances": [1]}, f"{path}:predict", model).json()["predictions"][0]


def gone(server: ModelServer, model: str) -> None:
    code, message = status_of(lambda: answer(server, model))
    assert (code.name, message) == ("NOT_FOUND", f"Servable not found for request: Latest({model})")
    response = server.post({"instances": [1]}, model=model)
    assert (response.status_code, response.json()["error"]) == (404, message)


def test_models_come_and_go(server, folder):
    response = reload(server, model_list(folder, two="", three=""))
    assert (response.status.error_code, response.status.error_message) == (0, "")
    assert (answer(server, "two"), answer(server, "three"), rest_answer(server, "three")) == (TWO, THREE, THREE)
    reload(server, model_list(folder, three=""))
    server.wait_for(1, "END", "two")
    gone(server, "two")
    assert answer(server, "three") == THREE


def test_the_versions_that_a_policy_asks_for(server, folder):
    reload(server, model_list(folder, both=""))
    assert set(server.states("both")) == {2}
    reload(server, model_list(folder, both="model_version_policy { latest { num_versions: 2 } }"))
    server.wait_for(1, "AVAILABLE", "both")
    assert (answer(server, "both"), answer(server, "both", version=1)) == (THREE, TWO)
    reload(server, model_list(folder, both="model_version_policy { specific { versions: 1 } }"))
    server.wait_for(2, "END", "both")
    assert answer(server, "both") == TWO
    reload(server, model_list(folder, both=ALL))
    server.wait_for(2, "AVAILABLE", "both")
    assert (answer(server, "both"), rest_answer(server, "both", "/versions/1")) == (THREE, TWO)


def test_a_label_is_moved_in_two_steps(server, folder):
    first = "model_version_policy { specific { versions: 1 } }"
    reload(server, model_list(folder, both=first))
    reload(server, model_list(folder, both=f"{first} {labels(stable=1)}"))
    code, message = status_of(lambda: reload(server, model_list(folder, both=f"{ALL} {labels(stable=2)}")))
    assert code.name == "FAILED_PRECONDITION"
    assert "Request to assign label to version 2 of model both, which is not currently available" in message
    assert answer(server, "both", label="stable") == TWO
    reload(server, model_list(folder, both=f"{ALL} {labels(stable=1)}"))
    server.wait_for(2, "AVAILABLE", "both")
    assert rest_answer(server, "both", "/labels/stable") == TWO
    reload(server, model_list(folder, both=f"{ALL} {labels(stable=2, old=1)}"))
    assert answer(server, "both", label="stable") == rest_answer(server, "both", "/labels/stable") == THREE
    assert answer(server, "both", label="old") == TWO
    [listed] = [model for model in server.get("/v1/models").json()["models"] if model["name"] == "both"]
    assert {version["version"]: version["labels"] for version in listed["versions"]} == {"1": ["old"], "2": ["stable"]}


def twice(folder: Path) -> model_server_config_pb2.ModelServerConfig:
    config = model_list(folder, two="")
    config.model_config_list.config.add().CopyFrom(config.model_config_list.config[0])
    return config


def of_platform(folder: Path, platform: str) -> model_server_config_pb2.ModelServerConfig:
    config = model_list(folder, three="")
    config.model_config_list.config[0].model_platform = platform
    return config


def at_relative_path(_: Path) -> model_server_config_pb2.ModelServerConfig:
    return model_list(Path("models"), three="")


@pytest.mark.parametrize(
    ("make", "code", "phrase"),
    [
        (twice, "INVALID_ARGUMENT", "Illegal to list model two multiple times in config list"),
        (at_relative_path, "INVALID_ARGUMENT", "Expected model three to have an absolute path or URI"),
        (lambda folder: of_platform(folder, ""), "INVALID_ARGUMENT", "neither ModelServerConfig::model_type"),
        (lambda folder: of_platform(folder, "caffe"), "INVALID_ARGUMENT", "caffe"),
        (lambda folder: model_list(folder, two=labels(x=9)), "FAILED_PRECONDITION", "not currently available"),
        (
            lambda _: model_server_config_pb2.ModelServerConfig(custom_model_config={}),
            "INVALID_ARGUMENT",
            "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently",
        ),
        (lambda _: None, "INVALID_ARGUMENT", "Only ModelConfigList is currently supported"),
    ],
    ids=["twice", "relative", "no-platform", "other-platform", "label", "custom", "none"],
)
def test_a_refused_list_changes_nothing(server, folder, make, code, phrase):
    got, message = status_of(lambda: reload(server, make(folder)))
    assert (got.name, phrase in message) == (code, True), message
    assert answer(server, "two") == TWO
    assert server.states("two")[1] == ("AVAILABLE", "")
    gone(server, "three")


def test_a_new_model_without_versions_is_reported_and_watched(server, folder, written_models):
    code, message = status_of(lambda: reload(server, model_list(folder, two="", late="")))
    assert code.name == "UNKNOWN"
    assert "1 model(s) did not become available" in message
    assert answer(server, "two") == TWO
    (folder / "late").mkdir()
    (folder / "late" / "1").symlink_to(written_models / "plus_three")
    server.wait_for(1, "AVAILABLE", "late")
    assert answer(server, "late") == THREE


def test_an_empty_list_unloads_everything_until_there_is_another(server, folder):
    reload(server, model_list(folder))
    server.wait_for(1, "END", "two")
    gone(server, "two")
    reload(server, model_list(folder, two=""))
    assert answer(server, "two") == TWO


def test_no_request_fails_during_ten_reloads(server, folder):
    """One model stays and is moved from version to version; others come and go."""
    reload(server, model_list(folder, both=""))
    with (
        Caller(lambda: answer(server, "both"), threads=3) as grpc_caller,
        Caller(lambda: rest_answer(server, "both"), threads=2) as rest_caller,
    ):
        for number in range(10):
            version = 1 + number % 2
            policy = f"model_version_policy {{ specific {{ versions: {version} }} }}"
            reload(server, model_list(folder, both=policy, **({"two": ""} if version == 1 else {"three": ""})))
            server.wait_for(version, "AVAILABLE", "both")
    for caller in (grpc_caller, rest_caller):
        assert not caller.failures
        assert set(caller.answers) == {TWO, THREE}


def test_a_file_that_changes_is_followed_and_a_bad_one_is_not(folder, tmp_path):
    path = write_model_list(tmp_path / "models.config", model_list(folder, two=""))
    with running_server(
        None,
        tmp_path / "server.log",
        f"--model_config_file={path}",
        "--model_config_file_poll_wait_seconds=1",
        "--file_system_poll_wait_seconds=1",
    ) as server:
        assert answer(server, "two") == TWO
        write_model_list(path, model_list(folder, three=""))
        server.wait_for(1, "END", "two")
        server.wait_for(1, "AVAILABLE", "three")
        gone(server, "two")

        path.write_text("model_config_list { config { name: ")
        wait_until(lambda: "Error parsing text-format tensorflow.serving.ModelServerConfig" in server.log, "complaint")
        write_model_list(path, twice(folder))
        wait_until(lambda: "multiple times in config list" in server.log, "another complaint")
        assert rest_answer(server, "three") == THREE

        write_model_list(path, model_list(folder, both=""))
        server.wait_for(2, "AVAILABLE", "both")
        server.wait_for(1, "END", "three")
        assert "Traceback" not in server.log


def test_without_a_period_the_file_is_read_once(server, folder, written_models):
    reload(server, model_list(folder, two="", watched=""))
    write_model_list(folder / "once.config", model_list(folder, three=""))
    # Between two looks at the base paths there is a second, the shortest period there is for the file.
    for version in (2, 3):
        (folder / "watched" / str(version)).symlink_to(written_models / "plus_two")
        server.wait_for(version, "AVAILABLE", "watched")
    gone(server, "three")
    assert answer(server, "two") == TWO


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("improper configuration", "Error parsing text-format tensorflow.serving.ModelServerConfig"),
        ("model_config_list { config { name: 'm' base_path: 'm' model_platform: 'tensorflow' } }", "absolute path"),
    ],
)
def test_a_bad_file_ends_the_start(tmp_path, text, phrase):
    path = tmp_path / "models.config"
    path.write_text(text)
    code, message = refused(f"--model_config_file={path}", f"--port={free_port()}")
    last = message.splitlines()[-1]
    assert code == 1
    assert last.startswith("vitrine-model-server: error: ")
    assert phrase in last
    assert "Traceback" not in message
