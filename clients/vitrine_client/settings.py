"""How a client reaches its server: transport security, headers, retries."""

from __future__ import annotations

import ipaddress
import os
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import TypeAlias, TypeGuard

import numpy as np

from vitrine_client.errors import InvalidInput

Headers: TypeAlias = Mapping[str, str] | Callable[[], Mapping[str, str]]
Token: TypeAlias = str | Callable[[], str]

REQUEST_ID = "x-request-id"

# gRPC makes no more than five attempts, whatever it is told.
MOST_RETRIES = 4
# With MOST_RETRIES, the last attempt is made some two seconds after the first: it takes Kubernetes up to one and a half
# to send nobody to a server that has died.
FIRST_BACKOFF = 0.2
LONGEST_BACKOFF = 1.0
LONGEST_TIMEOUT = 365 * 24 * 3600.0

_HEADER_NAME = re.compile(r"[a-z0-9_.-]+")
# gRPC and HTTP both carry printable ASCII only, and neither a blank at the ends.
_HEADER_VALUE = re.compile(r"(?:[!-~](?:[ -~]*[!-~])?)?")
# What the transports set themselves; another value would break the connection or the request.
_RESERVED = frozenset({"connection", "content-length", "content-type", "host", "te", "transfer-encoding"})


@dataclass(frozen=True)
class TLS:
    """Transport security.

    Attributes:
        ca: a PEM file with the certificates of those who may vouch for the server; None for the public ones.
        certificate: a PEM file with the client's own certificate chain, for servers that ask for one (mutual TLS).
        key: the PEM file with that certificate's private key.
        server_name: the name in the server's certificate, where it is not the name that is connected to.

    Raises:
        InvalidInput: a file that cannot be read, or a certificate without its key.
    """

    ca: str | os.PathLike[str] | None = None
    certificate: str | os.PathLike[str] | None = None
    key: str | os.PathLike[str] | None = None
    server_name: str | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise InvalidInput("tls: certificate and key belong together: give both or neither")
        self.read()
        self._check()

    def read(self) -> tuple[bytes | None, bytes | None, bytes | None]:
        """The content of `ca`, `key` and `certificate`, in gRPC's order."""
        return _content(self.ca, "ca"), _content(self.key, "key"), _content(self.certificate, "certificate")

    def _check(self) -> None:
        # gRPC would only say, with the first call, that it cannot make a handshaker.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            if self.ca is not None:
                context.load_verify_locations(os.fspath(self.ca))
        except ssl.SSLError as error:
            raise InvalidInput(f"tls.ca: no usable certificate in {str(self.ca)!r}: {error}") from error
        try:
            if self.certificate is not None:
                # An empty password, so that nobody is asked for one on a terminal.
                context.load_cert_chain(os.fspath(self.certificate), self.key and os.fspath(self.key), password="")
        except ssl.SSLError as error:
            files = f"{str(self.certificate)!r} and {str(self.key)!r}"
            raise InvalidInput(f"tls: no certificate and unencrypted key that fit in {files}: {error}") from error


def _content(path: str | os.PathLike[str] | None, name: str) -> bytes | None:
    if path is None:
        return None
    try:
        content = Path(path).read_bytes()
    except (OSError, TypeError, ValueError) as error:
        raise InvalidInput(f"tls.{name}: cannot read {path!r}: {getattr(error, 'strerror', None) or error}") from error
    if b"-----BEGIN " not in content:
        raise InvalidInput(f"tls.{name}: {str(path)!r} is no PEM file")
    return content


def checked_headers(headers: Mapping[str, str], name: str = "headers") -> dict[str, str]:
    """Headers by lower-case name.

    Raises:
        InvalidInput: no mapping of names to printable ASCII text, or a name that the transports keep for themselves.
    """
    if not isinstance(headers, Mapping):
        raise InvalidInput(f"{name}: {type(headers).__name__} where a dict of texts by name belongs")
    checked = {}
    for key, value in headers.items():
        lower = key.lower() if isinstance(key, str) else ""
        if not _HEADER_NAME.fullmatch(lower) or lower.endswith("-bin"):
            raise InvalidInput(f"{name}: {key!r} is no header name: letters, digits and -_. make one")
        if lower in _RESERVED or lower.startswith("grpc-"):
            raise InvalidInput(f"{name}: {key!r} is set by the client itself")
        if not isinstance(value, str) or not _HEADER_VALUE.fullmatch(value):
            # The value may be a secret.
            raise InvalidInput(f"{name}: the value of {key!r} is not printable ASCII text")
        checked[lower] = value
    return checked


def check_timeout(timeout: float) -> None:
    if isinstance(timeout, bool) or not isinstance(timeout, Real) or not 0 < timeout <= LONGEST_TIMEOUT:
        raise InvalidInput(f"timeout={timeout!r}: give seconds above 0, at most a year")


def check_retries(retries: int) -> None:
    if isinstance(retries, bool) or not isinstance(retries, int) or not 0 <= retries <= MOST_RETRIES:
        raise InvalidInput(f"retries={retries!r}: give a whole number from 0 to {MOST_RETRIES}")


def is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def check_positive(value: int, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidInput(f"{name}={value!r}: give a whole number from 1")


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
