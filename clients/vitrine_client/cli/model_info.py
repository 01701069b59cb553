"""`vitrine-client status`, `metadata` and `wait`: what a server has, and whether it is ready."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import asdict

from vitrine_client.blocking import Client
from vitrine_client.cli.console import Console
from vitrine_client.results import ModelStatus, TensorInfo, VersionStatus
from vitrine_client.tables import Cell, format_table

_ON_THE_WAY = ("START", "LOADING", "UNLOADING")


def status(client: Client, options: argparse.Namespace, console: Console) -> int:
    if options.all:
        models = client.models()
        if options.json:
            console.write_json([asdict(model) for model in models])
        else:
            headers = ("model", "version", "state", "error")
            console.write(format_table(headers, _all_versions(models), coloured=console.coloured))
        return 0
    answer = client.status()
    if options.json:
        console.write_json(asdict(answer))
    else:
        rows = map(_version, answer.versions)
        console.write(format_table(("version", "state", "error"), rows, coloured=console.coloured))
    return 0


def metadata(client: Client, options: argparse.Namespace, console: Console) -> int:
    answer = client.metadata()
    if options.json:
        console.write_json(asdict(answer))
        return 0
    rows = [
        (name, direction, tensor, info.dtype, _shape(info))
        for name, signature in answer.signatures.items()
        if not name.startswith("__")  # TensorFlow's own, not to be asked
        for direction, tensors in (("in", signature.inputs), ("out", signature.outputs))
        for tensor, info in tensors.items()
    ]
    console.say(f"model {answer.model}, version {answer.version}")
    console.write(format_table(("signature", "in/out", "tensor", "dtype", "shape"), rows, coloured=console.coloured))
    return 0


def wait(client: Client, options: argparse.Namespace, console: Console) -> int:
    """Raises DeadlineExceeded, which tells the last seen state."""
    version = client.wait_until_available(timeout=options.seconds)
    if options.json:
        console.write_json({"version": version})
    else:
        console.write(str(version))
    return 0


def _all_versions(models: Iterable[ModelStatus]) -> Iterable[tuple[object, ...]]:
    for model in models:
        yield from ((model.model, *_version(version)) for version in model.versions)
        if not model.versions:
            yield (model.model, "", "", "")


def _version(version: VersionStatus) -> tuple[object, ...]:
    error = "" if version.error_code == "OK" else f"{version.error_code}: {version.error_message}"
    state: object = version.state
    if version.state == "AVAILABLE":
        state = Cell(version.state, "green")
    elif version.state in _ON_THE_WAY:
        state = Cell(version.state, "yellow")
    elif error:
        state = Cell(version.state, "red")
    return version.version, state, Cell(error, "red")


def _shape(info: TensorInfo) -> str:
    if info.shape is None:
        return "any"
    return f"[{', '.join('?' if size is None else str(size) for size in info.shape)}]"
