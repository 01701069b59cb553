"""The options that are ours, next to locust's own, and what they say together."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitrine_client.blocking import Client
from vitrine_client.cli.connection import DEFAULT_MODEL, DEFAULT_TARGET
from vitrine_client.errors import InvalidInput
from vitrine_client.grpc import GrpcClient
from vitrine_client.load import samples
from vitrine_client.rest import RestClient

PROGRAM = "python -m vitrine_client.load"
TRANSPORTS = ("grpc", "rest", "both")
_DEFAULT_REST = "localhost:8501"

_DESCRIPTION = f"""Usage: {PROGRAM} [options] [GrpcUser] [RestUser]

Load for an image classifier on TensorFlow Serving: users that each ask about one picture after the other, as soon as
they are answered. Wrong answers are failures. Without --headless, runs are started on a web page, port 8089."""

_EXAMPLES = f"""examples:
  {PROGRAM} --headless -u 16 -t 1m
  {PROGRAM} --headless -u 8 -r 4 -t 30s --transport grpc --model flowers --csv flowers
  {PROGRAM} --pictures photos --rest models.example.org:8501 --transport rest
  {PROGRAM} --master --expect-workers 2 --headless -u 64 -t 5m
  {PROGRAM} --worker --master-host load

exit codes:
  0 done, 1 there were failures, 2 wrong usage, or no pictures

A user keeps to one transport: with --transport both, give -u 2 or more. Every option of locust has an environment
variable, see https://docs.locust.io/en/stable/configuration.html"""


def add_arguments(parser: Any, **_: Any) -> None:
    """Adds our options to locust's parser. Paths are not shown on the web page, which is not the place to name them."""
    parser.prog, parser.description, parser.epilog = PROGRAM, _DESCRIPTION, _EXAMPLES
    group = parser.add_argument_group("Server, model and pictures (VARIABLE: sets it in the environment)")
    for name, variable, told, options in (
        ("grpc", "VITRINE_GRPC", "the gRPC port", {"default": DEFAULT_TARGET, "metavar": "HOST:PORT"}),
        ("rest", "VITRINE_REST", "the REST port", {"default": _DEFAULT_REST, "metavar": "HOST:PORT"}),
        ("model", "MODEL", "the model's name", {"default": DEFAULT_MODEL, "metavar": "NAME"}),
        (
            "model-version",
            "VITRINE_MODEL_VERSION",
            "the version to ask; empty for the highest loaded one",
            {"default": "", "metavar": "N"},
        ),
        (
            "pictures",
            "VITRINE_PICTURES",
            "a folder of pictures to ask about in turn; by default the golden pictures of the version in --models "
            "(of the newest, without --model-version), whose answers are known and checked",
            {"default": "", "metavar": "FOLDER", "include_in_web_ui": False},
        ),
        (
            "models",
            "MODELS",
            "the store with NAME/VERSION/ of the golden pictures",
            {"default": "models", "metavar": "FOLDER", "include_in_web_ui": False},
        ),
        (
            "transport",
            "VITRINE_TRANSPORT",
            "which users there are; both: as many of each (on the web page, --class-picker lets you choose)",
            # Which users there are is settled before the page is shown.
            {"default": "both", "choices": TRANSPORTS, "include_in_web_ui": False},
        ),
        (
            "request-timeout",
            "VITRINE_REQUEST_TIMEOUT",
            "seconds for each request",
            {"default": 30.0, "type": float, "metavar": "S"},
        ),
    ):
        default = f"; default: {options['default']}" if options["default"] else ""
        _add(group, f"--{name}", env_var=variable, help=f"{told} ({variable}{default})", **options)


def _add(group: Any, *names: str, include_in_web_ui: bool = True, **options: Any) -> None:
    # locust shows arguments of a group only where they say so.
    group.add_argument(*names, **options).include_in_web_ui = include_in_web_ui


@dataclass(frozen=True)
class Settings:
    """What is asked of whom. `version` None stands for the highest loaded one, `timeout` is in seconds."""

    grpc: str
    rest: str
    model: str
    version: int | None
    pictures: str
    models: Path
    transport: str
    timeout: float

    @classmethod
    def of(cls, options: argparse.Namespace | None) -> Settings:
        """Raises InvalidInput for options that no client could be made with."""
        given = vars(options or argparse.Namespace())
        settings = cls(
            given["grpc"],
            given["rest"],
            given["model"],
            _version(given["model_version"]),
            given["pictures"],
            Path(given["models"]),
            given["transport"],
            given["request_timeout"],
        )
        for transport in ("grpc", "rest"):
            if settings.asks_over(transport):
                settings.client(transport).close()
        return settings

    def asks_over(self, transport: str) -> bool:
        return self.transport in (transport, "both")

    def client(self, transport: str) -> Client:
        """A new client, which never asks again: what a server could not take is to be seen, and timed as it was."""
        if transport == "grpc":
            return GrpcClient(self.grpc, model=self.model, version=self.version, timeout=self.timeout, retries=0)
        return RestClient(self.rest, model=self.model, version=self.version, timeout=self.timeout, retries=0)

    def samples(self) -> list[samples.Sample]:
        """The pictures to ask about. Raises InvalidInput where there is none, or one cannot be sent."""
        folder = Path(self.pictures) if self.pictures else samples.golden_folder(self.models, self.model, self.version)
        return samples.read(folder)


def _version(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise InvalidInput(f"--model-version: {text!r} is not a whole number from 0")
    return int(text)
