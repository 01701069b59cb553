"""TLS from TensorFlow Serving's `--ssl_config_file`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from google.protobuf import descriptor_pb2

from vitrine_serving.embedded.errors import invalid_argument
from vitrine_serving.embedded.text_protos import message_class, new_file, read_text_proto


def read_credentials(path: str) -> grpc.ServerCredentials:
    """Server credentials of the SSLConfig text proto at `path`: its fields hold PEM text, not file names.

    With `client_verify` clients must show a certificate that `custom_ca` signed. Raises ServingError
    INVALID_ARGUMENT for a file that is no SSLConfig, lacks a key or a certificate or has some that do not fit, and
    what the file system said for one that cannot be read.
    """
    config = read_text_proto(path, _message_class()())
    for field in ("server_key", "server_cert"):
        if "-----BEGIN" not in getattr(config, field):
            raise invalid_argument(f"{path}: {field} must hold the PEM text itself (-----BEGIN ...), not a file's name")
    if config.client_verify and not config.custom_ca:
        raise invalid_argument(f"{path}: client_verify needs custom_ca, the PEM text of the CA that signs clients")
    credentials = grpc.ssl_server_credentials(
        [(config.server_key.encode(), config.server_cert.encode())],
        root_certificates=config.custom_ca.encode() or None,
        require_client_auth=config.client_verify,
    )
    if not _usable(credentials):
        raise invalid_argument(
            f"{path}: server_key and server_cert are not a private key and its certificate, or custom_ca is none"
        )
    return credentials


def _usable(credentials: grpc.ServerCredentials) -> bool:
    """gRPC reads the PEM texts when it listens, and reports them as an address that cannot be bound."""
    server = grpc.server(ThreadPoolExecutor(1))
    try:
        server.add_secure_port("127.0.0.1:0", credentials)
    except RuntimeError:
        return False
    finally:
        server.stop(None)
    return True


def _message_class() -> Any:
    field = descriptor_pb2.FieldDescriptorProto
    file = new_file()
    config = file.message_type.add(name="SSLConfig")
    for number, name in enumerate(("server_key", "server_cert", "custom_ca"), start=1):
        config.field.add(name=name, number=number, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    config.field.add(name="client_verify", number=4, type=field.TYPE_BOOL, label=field.LABEL_OPTIONAL)
    return message_class(file, config.name)
