"""What is asked of whom, about which pictures."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from vitrine_client.blocking import Client
from vitrine_client.errors import InvalidInput
from vitrine_client.grpc import GrpcClient
from vitrine_client.load import samples, sizes
from vitrine_client.rest import RestClient


@dataclass(frozen=True)
class Settings:
    """What is asked of whom. `version` None stands for the highest loaded one, `timeout` is in seconds."""

    grpc: str
    rest: str
    model: str
    version: int | None
    pictures: str
    sizes: str
    models: Path
    transport: str
    timeout: float

    @classmethod
    def of(cls, options: argparse.Namespace | None) -> Settings:
        """Raises InvalidInput for options that no client could be made with."""
        given = vars(options or argparse.Namespace())
        settings = cls(
            grpc=given["grpc"],
            rest=given["rest"],
            model=given["model"],
            version=_version(given["model_version"]),
            pictures=given["pictures"],
            sizes=given["sizes"],
            models=Path(given["models"]),
            transport=given["transport"],
            timeout=given["request_timeout"],
        )
        for transport in settings.transports:
            settings.client(transport).close()
        return settings

    @property
    def transports(self) -> Sequence[str]:
        return [name for name in ("grpc", "rest") if self.asks_over(name)]

    def asks_over(self, transport: str) -> bool:
        return self.transport in (transport, "both")

    def client(self, transport: str) -> Client:
        """A new client, which never asks again: what a server could not take is to be seen, and timed as it was."""
        if transport == "grpc":
            return GrpcClient(self.grpc, model=self.model, version=self.version, timeout=self.timeout, retries=0)
        return RestClient(self.rest, model=self.model, version=self.version, timeout=self.timeout, retries=0)

    def samples(self) -> Iterator[samples.Sample]:
        """The pictures to ask about, without end. Raises InvalidInput where there is none, or one cannot be sent."""
        return sizes.mixed(_groups(self))


# They are made before a run to find what is wrong with them, and taken when it begins.
@lru_cache(maxsize=1)
def _groups(settings: Settings) -> Sequence[sizes.Group]:
    mix = sizes.parse(settings.sizes) if settings.sizes else [sizes.AS_IS]
    folder = (
        Path(settings.pictures)
        if settings.pictures
        else samples.golden_folder(settings.models, settings.model, settings.version)
    )
    return sizes.scaled(samples.read(folder), mix)


def _version(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise InvalidInput(f"--model-version: {text!r} is not a whole number from 0")
    return int(text)
