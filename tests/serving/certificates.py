"""A certificate authority for tests, made with the `openssl` command."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest


@dataclass(frozen=True)
class Pair:
    """PEM texts of a private key and its certificate."""

    key: bytes
    certificate: bytes


class Authority:
    """Signs certificates for `localhost`; the test is skipped where there is no `openssl`."""

    def __init__(self, folder: Path, name: str) -> None:
        if shutil.which("openssl") is None:
            pytest.skip("needs the openssl command to make certificates")
        self._folder = folder
        self._name = name
        self._new_key(name, "-x509", "-out", f"{name}.pem", "-days", "2")
        self.certificate = self._read(f"{name}.pem")

    def sign(self, name: str) -> Pair:
        self._new_key(name, "-out", f"{name}.csr")
        (self._folder / "extensions").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1")
        self._openssl(
            *("x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.pem", "-days", "2", "-extfile", "extensions"),
            *("-CA", f"{self._name}.pem", "-CAkey", f"{self._name}.key", "-CAcreateserial"),
        )
        return Pair(self._read(f"{name}.key"), self._read(f"{name}.pem"))

    def trust(self, client: Pair | None = None) -> grpc.ChannelCredentials:
        """What a client needs who trusts this authority, and shows its own certificate if it has one."""
        return grpc.ssl_channel_credentials(self.certificate, *((client.key, client.certificate) if client else ()))

    def _new_key(self, name: str, *options: str) -> None:
        new = ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        self._openssl(*new, "-keyout", f"{name}.key", "-subj", f"/CN={name}", *options)

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self._folder, check=True, capture_output=True)

    def _read(self, name: str) -> bytes:
        return (self._folder / name).read_bytes()
