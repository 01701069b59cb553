"""The folder a server and what watches it are configured with: written whole, checked first."""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vitrine_serving.config.batching import BatchingSettings, parse_batching
from vitrine_serving.config.errors import InvalidConfig
from vitrine_serving.config.models import PinnedModel, models_text, parse_models
from vitrine_serving.config.monitoring import monitoring_text, parse_monitoring
from vitrine_serving.config.pinning import check_name
from vitrine_serving.durable import flush
from vitrine_serving.errors import CommandError

PROBE_ADDRESS = "vitrine:8501"
# MODEL and VERSION where one model is pinned, as Kubernetes' manifests read them.
PINNED_ENV = "pinned.env"
_HOST_AND_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}")
_PARSERS: dict[str, Callable[[bytes], Any]] = {
    "monitoring.config": parse_monitoring,
    "batching.config": parse_batching,
    "models.config": parse_models,
}


@dataclass(frozen=True)
class ServingConfig:
    """All that is said about one server.

    Attributes:
        models: the models it serves, all of them.
        batching: for a server that is started with batching.
        probe_address: HOST:PORT of its REST API, as the monitoring sees it.
    """

    models: tuple[PinnedModel, ...]
    batching: BatchingSettings = field(default_factory=BatchingSettings)
    probe_address: str = PROBE_ADDRESS

    def files(self) -> dict[str, str]:
        """Content by name of file; models.config comes last, so that whoever watches it finds the others in place."""
        names = [model.name for model in self.models]
        pinned = [(model.name, version) for model in self.models for version in model.versions]
        environment = [f"MODEL={name}\nVERSION={version}\n" for name, version in pinned]
        return {
            "monitoring.config": monitoring_text(),
            "batching.config": self.batching.text(),
            "pinned": "".join(f"{name} {version}\n" for name, version in pinned),
            "probes.json": _json([_probe(self.probe_address, *pin) for pin in pinned]),
            "models.json": _json({"models": names}),
            **({PINNED_ENV: environment[0]} if len(environment) == 1 else {}),
            "models.config": models_text(self.models),
        }


def write_config(folder: Path, config: ServingConfig) -> list[Path]:
    """Write the files of `config` into `folder`, made where it is missing; returns their paths.

    Everything is written beside its place, read again and checked before the first file takes its place, so what is
    wrong changes nothing. Each file appears whole or not at all; all can be read by other users, as whom servers run.

    Raises CommandError where a name cannot be part of a URL, TensorFlow Serving would not take a file, or `folder`
    cannot be written.
    """
    if not _HOST_AND_PORT.fullmatch(config.probe_address):
        raise CommandError(f"probe address {config.probe_address!r}: give HOST:PORT, such as {PROBE_ADDRESS}")
    for model in config.models:
        check_name(model.name)
        for label in model.labels:
            check_name(label, "label")
    files = config.files()
    written = replace_files(folder, files)
    if PINNED_ENV not in files:
        # Of an earlier write, when there was one model.
        (folder / PINNED_ENV).unlink(missing_ok=True)
    return written


def replace_files(folder: Path, files: Mapping[str, str]) -> list[Path]:
    """Have texts in their places in `folder`, one after the other, as `write_config` does; other files stay.

    Raises CommandError where TensorFlow Serving would not take a file, or `folder` cannot be written.
    """
    for name, text in files.items():
        _check(name, text.encode())
    try:
        with _locked(folder):
            return _write(folder, files)
    except OSError as error:
        where = error.filename or folder
        raise CommandError(
            f"cannot write {where}: {error.strerror}; name a folder with --out or --config that this user may write to"
        ) from None


def _write(folder: Path, files: Mapping[str, str]) -> list[Path]:
    # Always the same names: what a killed process left behind is overwritten.
    staged = {folder / name: folder / f".{name}.new" for name in files}
    try:
        for path, new in staged.items():
            if path.is_dir():
                raise CommandError(f"{path} is a folder; remove it, or give another folder with --out")
            _write_durably(new, files[path.name])
            _check(path.name, new.read_bytes())
        for path, new in staged.items():
            new.replace(path)
    finally:
        for new in staged.values():
            new.unlink(missing_ok=True)
    flush(folder)
    return list(staged)


def _check(name: str, content: bytes) -> None:
    parser = _PARSERS.get(name)
    try:
        if parser is not None:
            parser(content)
    except InvalidConfig as error:
        raise CommandError(f"{name} would be refused by the server, so nothing was written: {error}") from None


def _write_durably(path: Path, text: str) -> None:
    # A new file of our own, also where a link of that name waits.
    path.unlink(missing_ok=True)
    with path.open("x", encoding="utf-8") as file:
        # Whatever the umask says.
        os.fchmod(file.fileno(), 0o644)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One writer at a time; the kernel drops the lock with the process."""
    if not folder.is_dir():
        folder.mkdir(parents=True)
        folder.chmod(0o755)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _probe(address: str, name: str, version: int) -> dict[str, Any]:
    url = f"http://{address}/v1/models/{name}/versions/{version}"
    return {"targets": [url], "labels": {"model_name": name, "version": str(version)}}


def _json(value: Any) -> str:
    return json.dumps(value, indent=2) + "\n"
