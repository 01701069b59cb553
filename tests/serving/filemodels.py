"""Models that are one file each, so that tests of their management need not load a network."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import tensorflow as tf
from google.protobuf import text_format
from processes import DEADLINE_SECONDS, wait_until
from tensorflow_serving.config import model_server_config_pb2

from vitrine_serving.embedded.errors import Code, ServingError, invalid_argument, not_found
from vitrine_serving.embedded.models.manager import RetryPolicy
from vitrine_serving.embedded.models.models import Models, ModelsOptions
from vitrine_serving.embedded.models.version import State

BROKEN = "broken"
POLL_SECONDS = 0.02


class FileModel:
    """Answers with the text of its file; a closed one must not be asked."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.closed = False

    def run(self) -> str:
        assert not self.closed
        return self._text

    def close(self) -> None:
        self.closed = True


class Loader:
    """Loads FileModels, as fast as it can or when told to."""

    def __init__(self) -> None:
        self.models: list[FileModel] = []
        self.loaded: list[str] = []
        self._gate = threading.Event()
        self._gate.set()

    def __call__(self, name: str, version: int, path: str) -> FileModel:
        self.loaded.append(path)
        assert self._gate.wait(DEADLINE_SECONDS)
        try:
            with tf.io.gfile.GFile(f"{path}/saved_model.pb") as file:
                text = file.read()
        except tf.errors.OpError as error:
            raise not_found(f"Could not find SavedModel .pb or .pbtxt at {path}") from error
        if text == BROKEN:
            raise invalid_argument(f"{path} is broken")
        self.models.append(FileModel(text))
        return self.models[-1]

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let no load finish meanwhile."""
        self._gate.clear()
        try:
            yield
        finally:
            self._gate.set()


class Shelf:
    """A folder of base paths, and the Models that serve from it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.loader = Loader()
        self._started: list[Models] = []

    def __enter__(self) -> Shelf:
        return self

    def __exit__(self, *_: object) -> None:
        for models in self._started:
            models.stop(0)

    def put(self, name: str, version: int | str, text: str = "") -> Path:
        """A whole version at once; its answer is `text`, or NAME-VERSION."""
        staged = self.folder / "staged"
        staged.mkdir()
        (staged / "saved_model.pb").write_text(text or f"{name}-{version}")
        (self.folder / name).mkdir(exist_ok=True)
        return staged.rename(self.folder / name / str(version))

    def remove(self, name: str, version: int) -> None:
        """A whole version at once."""
        gone = (self.folder / name / str(version)).rename(self.folder / "gone")
        shutil.rmtree(gone)

    def config(self, **models: str) -> model_server_config_pb2.ModelServerConfig:
        """A list of models by name, each with further fields in text proto form."""
        config = model_server_config_pb2.ModelServerConfig()
        config.model_config_list.SetInParent()
        for name, fields in models.items():
            entry = config.model_config_list.config.add(
                name=name, base_path=str(self.folder / name), model_platform="tensorflow"
            )
            entry.MergeFrom(_parsed(fields))
        return config

    def models(self, poll: float = POLL_SECONDS, retries: int = 0, interval: float = 60.0, **options) -> Models:
        models = Models(
            self.loader,
            ModelsOptions(RetryPolicy(retries, interval), file_system_poll_wait_seconds=poll, **options),
        )
        self._started.append(models)
        return models

    def start(self, config: model_server_config_pb2.ModelServerConfig, **options) -> Models:
        """Models that serve `config` and have loaded what there is."""
        models = self.models(**options)
        models.start(config)
        assert models.wait_until_settled(DEADLINE_SECONDS)
        return models


def _parsed(fields: str) -> model_server_config_pb2.ModelConfig:
    return text_format.Parse(fields, model_server_config_pb2.ModelConfig())


def ask(models: Models, name: str, version: int | None = None, label: str | None = None) -> str:
    servable = models.acquire(name, version, label)
    try:
        return servable.model.run()
    finally:
        servable.release()


def states(models: Models, name: str) -> dict[int, str]:
    return {status.version: status.state.name for status in models.statuses(name)}


def wait_for(models: Models, name: str, version: int, state: State) -> None:
    wait_until(
        lambda: states(models, name).get(version) == state.name,
        f"{name} {version} {state.name}: {models.statuses(name)}",
    )


def refused(code: Code, phrase: str, call: Callable[..., object], *arguments: object) -> None:
    with pytest.raises(ServingError) as raised:
        call(*arguments)
    assert (raised.value.code, phrase in raised.value.message) == (code, True), raised.value
