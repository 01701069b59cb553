"""Written models, base paths they appear in, and servers that watch them."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import savedmodels
from embedded_server import ModelServer, running_server


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[..., ModelServer]]:
    """Start a server for a base path, with further flags; it is stopped, and must exit with 0, at the end."""
    with contextlib.ExitStack() as stack:

        def start(base_path: Path, *flags: str) -> ModelServer:
            return stack.enter_context(running_server(base_path, tmp_path / "server.log", *flags))

        yield start


@pytest.fixture(scope="session")
def written_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directories to copy versions from."""
    folder = tmp_path_factory.mktemp("written")
    savedmodels.write_showcase(folder / "showcase")
    savedmodels.write_half_plus(folder / "plus_two", 2.0)
    savedmodels.write_half_plus(folder / "plus_three", 3.0)
    return folder


class VersionStore:
    """A base path, and written models that appear in it as versions, complete at once."""

    def __init__(self, written: Path, folder: Path) -> None:
        self.base_path = folder / "models"
        self._written = written
        self._staging = folder / "staging"

    def __call__(self, model: str, version: int | str, prepare: Callable[[Path], object] = lambda _: None) -> Path:
        shutil.copytree(self._written / model, self._staging)
        prepare(self._staging)
        self.base_path.mkdir(exist_ok=True)
        return self._staging.rename(self.base_path / str(version))


@pytest.fixture
def put_version(written_models: Path, tmp_path: Path) -> VersionStore:
    return VersionStore(written_models, tmp_path)


@pytest.fixture(scope="session")
def showcase(written_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServer]:
    """A server with version 7 of the showcase model. Tests only ask it."""
    folder = tmp_path_factory.mktemp("showcase")
    shutil.copytree(written_models / "showcase", folder / "models" / "7")
    with running_server(folder / "models", folder / "server.log") as server:
        yield server
