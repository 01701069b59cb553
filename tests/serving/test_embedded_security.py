"""Who may talk to the server: TLS, certificates of clients, sockets in the file system."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

import grpc
import numpy as np
import pytest
from certificates import Authority, Pair
from embedded_server import ModelServer, channel_to, model_spec, refused, running_server, status_of
from processes import DEADLINE_SECONDS, free_port
from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc

from vitrine_serving.embedded.errors import ServingError
from vitrine_serving.embedded.grpc.credentials import read_credentials

ONE = np.ones(1, np.float32)


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), "authority")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory) -> Authority:
    """Who signs for anybody but the server."""
    return Authority(tmp_path_factory.mktemp("stranger"), "stranger")


@pytest.fixture(scope="module")
def server_pair(authority) -> Pair:
    return authority.sign("server")


def ssl_config(path: Path, pair: Pair, *fields: str) -> Path:
    """The PEM texts in quotes, line ends escaped, as protobuf's text format wants them."""
    key, certificate = (repr(pem.read_text()) for pem in (pair.key, pair.certificate))
    path.write_text("\n".join([f"server_key: {key}", f"server_cert: {certificate}", *fields]))
    return path


@pytest.fixture(scope="module")
def one_version(written_models, tmp_path_factory) -> Path:
    base_path = tmp_path_factory.mktemp("models")
    (base_path / "1").symlink_to(written_models / "plus_two")
    return base_path


@pytest.fixture(scope="module")
def mutual(one_version, authority, server_pair, tmp_path_factory):
    """A server that asks clients for a certificate of `authority`, and listens on a socket as well."""
    folder = tmp_path_factory.mktemp("mutual")
    ca = f"custom_ca: {authority.certificate.read_text()!r}"
    config = ssl_config(folder / "ssl.config", server_pair, ca, "client_verify: true")
    with running_server(
        one_version,
        folder / "server.log",
        f"--ssl_config_file={config}",
        f"--grpc_socket_path={folder / 'serving.sock'}",
        credentials=authority.trust(authority.sign("client")),
    ) as server:
        yield server


def refusal(server: ModelServer, credentials: grpc.ChannelCredentials | None) -> grpc.StatusCode:
    """What a client gets who comes with these."""
    with channel_to(f"localhost:{server.port}", credentials) as channel:
        request = get_model_status_pb2.GetModelStatusRequest(model_spec=model_spec())
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        return status_of(lambda: stub.GetModelStatus(request, timeout=DEADLINE_SECONDS))[0]


def status_over(address: str, credentials: grpc.ChannelCredentials | None = None) -> int:
    """The version served at an address, once somebody listens there."""
    with channel_to(address, credentials) as channel:
        request = get_model_status_pb2.GetModelStatusRequest(model_spec=model_spec())
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        [status] = stub.GetModelStatus(request, timeout=DEADLINE_SECONDS, wait_for_ready=True).model_version_status
        return status.version


def test_a_client_with_a_certificate_is_served(mutual):
    assert list(mutual.predict({"x": ONE}).outputs["y"].float_val) == [2.5]


def test_clients_with_another_certificate_with_none_and_without_tls_are_not(mutual, authority, stranger):
    for credentials in (authority.trust(stranger.sign("client")), authority.trust(), None):
        assert refusal(mutual, credentials) is grpc.StatusCode.UNAVAILABLE
    assert list(mutual.predict({"x": ONE}).outputs["y"].float_val) == [2.5]


def test_a_client_that_does_not_trust_the_server_does_not_talk_to_it(mutual, stranger):
    assert refusal(mutual, stranger.trust()) is grpc.StatusCode.UNAVAILABLE


def test_rest_goes_on_without_tls_as_in_tensorflow_serving(mutual):
    assert mutual.post({"instances": [1]}).json() == {"predictions": [2.5]}


def test_any_client_is_served_where_no_certificate_is_asked_for(
    one_version, authority, server_pair, stranger, tmp_path
):
    config = ssl_config(tmp_path / "ssl.config", server_pair)
    with running_server(
        one_version, tmp_path / "server.log", f"--ssl_config_file={config}", credentials=authority.trust()
    ) as server:
        assert list(server.predict({"x": ONE}).outputs["y"].float_val) == [2.5]
        assert status_over(f"localhost:{server.port}", authority.trust(stranger.sign("client"))) == 1


CERTIFICATE = "server_cert: '-----BEGIN CERTIFICATE-----'"


@pytest.mark.parametrize(
    ("content", "phrase"),
    [
        ("", "empty"),
        ("server_key: 5", "Error parsing text-format tensorflow.serving.SSLConfig"),
        ("server_keys: 'x'", "SSLConfig"),
        (CERTIFICATE, "server_key must hold the PEM text"),
        ("server_key: '/etc/ssl/server.key'\n" + CERTIFICATE, "server_key must hold the PEM text itself"),
        (f"server_key: '-----BEGIN PRIVATE KEY-----'\n{CERTIFICATE}\nclient_verify: true", "client_verify needs"),
        (f"server_key: '-----BEGIN PRIVATE KEY-----'\n{CERTIFICATE}", "not a private key and its certificate"),
    ],
)
def test_a_file_without_what_tls_needs(tmp_path, content, phrase):
    path = tmp_path / "ssl.config"
    path.write_text(content)
    with pytest.raises(ServingError) as raised:
        read_credentials(str(path))
    assert phrase in raised.value.message
    assert str(path) in raised.value.message


def test_a_key_of_another_certificate(authority, server_pair, tmp_path):
    mixed = Pair(server_pair.certificate, authority.sign("other").key)
    with pytest.raises(ServingError, match="not a private key and its certificate"):
        read_credentials(str(ssl_config(tmp_path / "ssl.config", mixed)))


def test_a_bad_file_ends_the_start_with_one_line(one_version, tmp_path):
    code, message = refused(
        f"--model_base_path={one_version}", f"--port={free_port()}", f"--ssl_config_file={tmp_path / 'missing'}"
    )
    assert code == 1
    assert message.startswith("vitrine-model-server: error: Cannot read")
    assert message.count("\n") == 1


def test_a_socket_in_the_file_system_serves_grpc_too(mutual, authority):
    path = Path(mutual.log.split("unix:")[1].split()[0])
    assert stat.S_ISSOCK(path.stat().st_mode)
    credentials = authority.trust(authority.sign("local"))
    with grpc.secure_channel(f"unix:{path}", credentials, [("grpc.ssl_target_name_override", "localhost")]) as channel:
        request = get_model_status_pb2.GetModelStatusRequest(model_spec=model_spec())
        response = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(request, timeout=DEADLINE_SECONDS)
    assert response.model_version_status[0].version == 1


def test_a_socket_and_no_port(one_version, tmp_path):
    path = tmp_path / "serving.sock"
    with running_server(one_version, tmp_path / "server.log", "--port=0", f"--grpc_socket_path={path}") as server:
        assert status_over(f"unix:{path}") == 1
        assert f"gRPC listening on unix:{path}" in server.log
        assert "0.0.0.0:0" not in server.log


def test_a_socket_that_a_killed_server_left_behind_is_taken_over(one_version, tmp_path):
    path = tmp_path / "serving.sock"
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
    with running_server(one_version, tmp_path / "server.log", f"--grpc_socket_path={path}"):
        assert status_over(f"unix:{path}") == 1
    assert not path.exists()


def test_a_socket_path_that_cannot_be_made_ends_the_start(one_version, tmp_path):
    path = tmp_path / "no" / "such" / "folder" / "serving.sock"
    code, message = refused(f"--model_base_path={one_version}", f"--port={free_port()}", f"--grpc_socket_path={path}")
    last = message.splitlines()[-1]
    assert code == 1
    assert last.startswith("vitrine-model-server: error: cannot listen")
    assert last.endswith(f": gRPC cannot bind unix:{path}")
    assert "Traceback" not in message
