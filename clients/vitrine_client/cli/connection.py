"""The client that a command's options, and the environment, describe."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from vitrine_client.blocking import Client
from vitrine_client.errors import InvalidInput
from vitrine_client.grpc import GrpcClient
from vitrine_client.images.urls import is_url, without_credentials
from vitrine_client.settings import TLS, is_loopback

if TYPE_CHECKING:
    from vitrine_client.rest import RestClient

DEFAULT_TARGET = "localhost:8500"
DEFAULT_MODEL = "digits"


def connect(options: argparse.Namespace) -> Client:
    """A client for the server and the model that are asked.

    Raises:
        InvalidInput: options or variables that cannot be used, or that do not go together.
    """
    transport, addresses = server(options)
    if transport == "gRPC" and (urls := list(filter(is_url, addresses))):
        raise InvalidInput(f"{without_credentials(urls[0])} is a URL: --grpc takes HOST:PORT, --rest takes URLs")
    tls = _tls(options)
    if tls is not None and transport == "REST" and not all(a.startswith("https://") for a in addresses):
        raise InvalidInput("TLS over REST needs addresses that begin with https://")
    return _kind(transport)(
        addresses[0] if len(addresses) == 1 else addresses,
        model=model(options),
        version=options.version,
        label=options.label,
        timeout=options.timeout,
        retries=options.retries,
        tls=tls,
        token=_token(options),
        headers=dict(options.header),
    )


def _kind(transport: str) -> type[GrpcClient] | type[RestClient]:
    if transport == "gRPC":
        return GrpcClient
    # Its HTTP library is a sixth of what a command by gRPC takes to start.
    from vitrine_client.rest import RestClient

    return RestClient


def server(options: argparse.Namespace) -> tuple[str, list[str]]:
    """The transport, gRPC or REST, and its addresses."""
    if options.rest is not None:
        return "REST", _addresses(options.rest)
    if options.grpc is not None:
        return "gRPC", _addresses(options.grpc)
    grpc, rest = os.environ.get("VITRINE_GRPC"), os.environ.get("VITRINE_REST")
    if grpc and rest:
        raise InvalidInput("VITRINE_GRPC and VITRINE_REST are both set: give --grpc or --rest")
    return ("REST", _addresses([rest])) if rest else ("gRPC", _addresses([grpc or DEFAULT_TARGET]))


def model(options: argparse.Namespace) -> str:
    if options.model is not None:
        return str(options.model)
    return os.environ.get("VITRINE_MODEL") or DEFAULT_MODEL


def is_local(address: str) -> bool:
    """Whether an address leads to this machine by its very name."""
    if address.startswith("unix:"):
        return True
    address = address.removeprefix("dns:///")
    return is_loopback(urlsplit(address if "://" in address else f"//{address}").hostname or "")


def without_passwords(text: str, options: argparse.Namespace) -> str:
    """A text without the users and passwords in the REST addresses that were given."""
    for address in _addresses(options.rest or [os.environ.get("VITRINE_REST", "")]):
        # An address may have no scheme, or one that is none.
        place = address.rpartition("://")[2]
        text = text.replace(place, without_credentials(f"http://{place}").removeprefix("http://"))
    return text


def _addresses(given: Sequence[str]) -> list[str]:
    addresses: list[str] = []
    for text in given:
        # gRPC's own names for several IP addresses have commas in them.
        addresses += [text] if text.startswith(("ipv4:", "ipv6:")) else [part.strip() for part in text.split(",")]
    return addresses


def _tls(options: argparse.Namespace) -> TLS | None:
    settings = (options.tls_ca, options.tls_cert, options.tls_key, options.tls_server_name)
    return TLS(*settings) if options.tls or any(setting is not None for setting in settings) else None


def _token(options: argparse.Namespace) -> str | None:
    if options.token_file is None:
        return os.environ.get("VITRINE_TOKEN") or None
    try:
        return Path(options.token_file).read_text().strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise InvalidInput(f"--token-file: cannot read {options.token_file!r}: {reason}") from error
