"""Transport security: who is trusted, by which name, and what is said where that fails."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from certificates import Authority, Pair
from client_processes import TRANSPORTS, Load, ServerProcess, ask, client_of, running
from processes import DEADLINE_SECONDS

from vitrine_client import TLS, GrpcClient, InvalidInput, RestClient, Unavailable

ROWS = {"x": np.array([1, 2])}


class World(NamedTuple):
    """Two authorities that do not know each other, and servers that run with certificates of the first."""

    ours: Authority
    theirs: Authority
    client: Pair
    expired: Pair
    plain: ServerProcess
    mutual: ServerProcess
    other_name: ServerProcess


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("certificates")
    ours, theirs = Authority(folder, "ours"), Authority(folder, "theirs")
    server, other = ours.sign("server"), ours.sign("other", "DNS:models.example")
    with (
        running(1, *flags(server)) as [plain],
        running(1, *flags(server), "--client-ca", ours.certificate) as [mutual],
        running(1, *flags(other)) as [other_name],
    ):
        yield World(ours, theirs, ours.sign("client"), ours.sign("expired", days=-1), plain, mutual, other_name)


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_server_of_our_own_authority_is_trusted(world: World, transport: str):
    assert predicted(transport, world.plain, ca=world.ours.certificate) == [1, 2]


def test_a_server_of_another_authority_is_not(world: World, transport: str):
    assert "certificate" in refusal(transport, world.plain, retries=4, ca=world.theirs.certificate).lower()


def test_a_server_of_no_public_authority_is_not(world: World, transport: str):
    assert "certificate" in refusal(transport, world.plain).lower()


def test_a_certificate_of_another_name_is_refused_unless_it_is_expected(world: World, transport: str):
    said = refusal(transport, world.other_name, ca=world.ours.certificate)
    assert "hostname" in said.lower() or "127.0.0.1" in said
    trusted = {"ca": world.ours.certificate, "server_name": "models.example"}
    assert predicted(transport, world.other_name, **trusted) == [1, 2]


def test_mutual_tls_takes_the_clients_certificate(world: World, transport: str):
    shown = {"certificate": world.client.certificate, "key": world.client.key}
    assert predicted(transport, world.mutual, ca=world.ours.certificate, **shown) == [1, 2]


def test_mutual_tls_needs_the_clients_certificate(world: World, transport: str):
    assert refusal(transport, world.mutual, ca=world.ours.certificate)


def test_mutual_tls_needs_a_certificate_that_has_not_expired(world: World, transport: str):
    shown = {"certificate": world.expired.certificate, "key": world.expired.key}
    assert refusal(transport, world.mutual, ca=world.ours.certificate, **shown)


def test_a_client_without_tls_is_refused_by_a_server_with_it(world: World, transport: str):
    with pytest.raises(Unavailable):
        ask(client_without_tls(transport, world.plain), "predict", ROWS)


def test_several_servers_of_one_name_share_their_load(world: World, transport: str):
    tls = TLS(ca=world.ours.certificate, server_name="localhost")
    with running(1, *flags(world.ours.sign("second"))) as [second]:
        servers = [world.plain, second]
        with Load(client_of(transport, servers, tls=tls)) as load:
            load.wait_for_calls(servers, each=5)
    assert not load.failures


def test_several_names_in_a_list_need_one_that_they_share(world: World):
    with pytest.raises(InvalidInput, match="server_name"):
        GrpcClient(["localhost:1", "127.0.0.1:1"], model="echo", tls=TLS(ca=world.ours.certificate))


@pytest.mark.parametrize("field", ["ca", "certificate", "key"])
@pytest.mark.parametrize("content", [None, b"no certificate", b"", b"\xff\x00"])
def test_files_that_are_none_are_told_at_once(world: World, tmp_path: Path, field: str, content: bytes | None):
    path = tmp_path / "file.pem"
    if content is not None:
        path.write_bytes(content)
    files = {"certificate": world.client.certificate, "key": world.client.key, field: path}
    with pytest.raises(InvalidInput, match=rf"tls\.{field}: .*file\.pem"):
        TLS(**files)


@pytest.mark.parametrize("field", ["ca", "certificate", "key"])
def test_files_that_only_look_like_certificates_are_told(world: World, tmp_path: Path, field: str):
    path = tmp_path / "file.pem"
    path.write_text("-----BEGIN CERTIFICATE-----\nbm90aGluZw==\n-----END CERTIFICATE-----\n")
    with pytest.raises(InvalidInput, match=r"file\.pem"):
        TLS(**{"ca": world.ours.certificate, **world.client._asdict(), field: path})


def test_another_ones_key_is_told(world: World):
    with pytest.raises(InvalidInput, match="fit"):
        TLS(certificate=world.client.certificate, key=world.expired.key)


def test_a_certificate_and_its_key_belong_together(world: World):
    for half in ({"certificate": world.client.certificate}, {"key": world.client.key}):
        with pytest.raises(InvalidInput, match="belong together"):
            TLS(**half)


def test_rest_needs_an_address_for_tls():
    with pytest.raises(InvalidInput, match="https://"):
        RestClient("http://localhost:1", model="echo", tls=TLS())


def flags(pair: Pair) -> list[str | Path]:
    return ["--certificate", pair.certificate, "--key", pair.key]


def predicted(transport: str, server: ServerProcess, **tls: Any) -> list[int]:
    answer = ask(client_of(transport, [server], tls=TLS(**tls), retries=1), "predict", ROWS)
    assert answer["server"].tolist() == [server.port] * 2
    return answer["x"].tolist()


def refusal(transport: str, server: ServerProcess, retries: int = 1, **tls: Any) -> str:
    """What a client says that cannot come to terms with the server; it does not try until its deadline."""
    with pytest.raises(Unavailable) as info:
        ask(client_of(transport, [server], tls=TLS(**tls), timeout=DEADLINE_SECONDS, retries=retries), "predict", ROWS)
    return str(info.value)


def client_without_tls(transport: str, server: ServerProcess) -> Any:
    if transport == "rest":
        return RestClient(server.rest.replace("https://", "http://"), model="echo", retries=1)
    return client_of(transport, [server], retries=1)
