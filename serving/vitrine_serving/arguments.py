"""Command line arguments that commands share."""

from __future__ import annotations

import argparse
from pathlib import Path

from vitrine_serving.engines import ENGINES, ServerOptions


def server_arguments() -> argparse.ArgumentParser:
    """A parent parser: which model of which store, by which engine, on which ports."""
    parent = argparse.ArgumentParser(add_help=False)
    parent.add_argument(
        "--models", type=local_folder, default=Path("models"), help="the model store (default: %(default)s)"
    )
    parent.add_argument("--model", default="digits", help="the model's name in it (default: %(default)s)")
    parent.add_argument(
        "--engine",
        choices=ENGINES,
        default="auto",
        help="auto: tensorflow_model_server if it is on PATH, else the embedded server (default: %(default)s)",
    )
    parent.add_argument("--grpc-port", type=_port, default=8500, help="(default: %(default)s)")
    parent.add_argument("--rest-port", type=_port, default=8501, help="(default: %(default)s)")
    return parent


def server_options(arguments: argparse.Namespace) -> ServerOptions:
    base_path = arguments.models / arguments.model
    return ServerOptions(arguments.model, base_path, arguments.grpc_port, arguments.rest_port)


def local_folder(text: str) -> Path:
    """A model store's folder, as an argparse type; an address such as gs://bucket is refused."""
    if "://" in text:
        raise argparse.ArgumentTypeError(f"{text}: only a local folder can be the model store")
    return Path(text)


def _port(text: str) -> int:
    if not (text.isdecimal() and 1 <= int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: accepted are 1 to 65535")
    return int(text)
