"""Certificate authorities as PEM files, made with the `openssl` command."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import grpc
import pytest


class Pair(NamedTuple):
    """Files of a certificate and its private key."""

    certificate: Path
    key: Path


class Authority:
    """Signs certificates; the test is skipped where there is no `openssl`."""

    def __init__(self, folder: Path, name: str) -> None:
        if shutil.which("openssl") is None:
            pytest.skip("needs the openssl command to make certificates")
        self._folder, self._name = folder, name
        self._new_key(name, "-x509", "-out", f"{name}.pem", "-days", "2")
        self.certificate = folder / f"{name}.pem"

    def sign(self, name: str, names: str = "DNS:localhost,IP:127.0.0.1", days: int = 2) -> Pair:
        """A certificate for these names; one that has expired, for negative days."""
        self._new_key(name, "-out", f"{name}.csr")
        (self._folder / "extensions").write_text(f"subjectAltName={names}")
        self._openssl(
            *("x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.pem", "-days", str(days)),
            *("-extfile", "extensions", "-CA", f"{self._name}.pem", "-CAkey", f"{self._name}.key", "-CAcreateserial"),
        )
        return Pair(self._folder / f"{name}.pem", self._folder / f"{name}.key")

    def trust(self, client: Pair | None = None) -> grpc.ChannelCredentials:
        """What a client needs who trusts this authority, and shows its own certificate if it has one."""
        shown = (client.key.read_bytes(), client.certificate.read_bytes()) if client else ()
        return grpc.ssl_channel_credentials(self.certificate.read_bytes(), *shown)

    def _new_key(self, name: str, *options: str) -> None:
        new = ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        self._openssl(*new, "-keyout", f"{name}.key", "-subj", f"/CN={name}", *options)

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self._folder, check=True, capture_output=True)
