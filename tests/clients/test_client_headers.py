"""What goes along with every call: credentials, ids to find it by, headers of the user's own."""

from __future__ import annotations

import asyncio
import importlib.metadata
import itertools
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest
from client_processes import ask
from client_sockets import SocketServer, reply
from client_standins import GrpcStandin

from vitrine_client import AsyncGrpcClient, BadResponse, GrpcClient, InvalidInput, RestClient, VitrineError

KINDS = [GrpcClient, AsyncGrpcClient, RestClient]
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SECRET = "never-to-be-seen"  # noqa: S105


class Listener:
    """A server that refuses every call, and the headers that came with each."""

    def __init__(self, kind: Any, grpc_standin: GrpcStandin, rest: SocketServer) -> None:
        self._kind = kind
        self._address = rest.address if kind is RestClient else grpc_standin.target
        self._rest = rest
        self._metadata: list[dict[str, str]] = []
        grpc_standin.answer = self._refuse

    def _refuse(self, path: str, request: bytes, context: grpc.ServicerContext) -> bytes:
        self._metadata.append(dict(context.invocation_metadata()))
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "refused")

    @property
    def headers(self) -> list[dict[str, str]]:
        """Of each request, by lower-case name."""
        return self._metadata if self._kind is not RestClient else list(map(headers_of, self._rest.requests))

    def client(self, **options: Any) -> Any:
        return self._kind(self._address, model="flowers", **options)

    def ask(self, client: Any | None = None, headers: Mapping[str, str] | None = None, **options: Any) -> VitrineError:
        with pytest.raises(VitrineError) as info:
            ask(client or self.client(**options), "predict", {"x": [1.0]}, headers=headers)
        return info.value

    def ask_twice(self, **options: Any) -> None:
        """Two calls of one client."""
        client = self.client(**options)

        async def awaited() -> None:
            async with client:
                for _ in range(2):
                    with pytest.raises(InvalidInput, match="refused"):
                        await client.predict({"x": [1.0]})

        if isinstance(client, AsyncGrpcClient):
            asyncio.run(awaited())
        else:
            for _ in range(2):
                self.ask(client)


def headers_of(request: bytes) -> dict[str, str]:
    lines = request.split(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]
    return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


@pytest.fixture(params=KINDS)
def listener(request: pytest.FixtureRequest, grpc_standin: GrpcStandin) -> Iterator[Listener]:
    def refuse(number: int, connection: socket.socket) -> None:
        connection.sendall(reply(400, b'{"error": "refused"}'))

    with SocketServer(refuse) as rest:
        yield Listener(request.param, grpc_standin, rest)


def test_a_token_goes_along(listener: Listener):
    listener.ask(token=SECRET)
    assert listener.headers[0]["authorization"] == f"Bearer {SECRET}"


def test_no_token_goes_along_where_there_is_none(listener: Listener):
    listener.ask()
    assert "authorization" not in listener.headers[0]


def test_a_tokens_function_is_asked_for_each_call(listener: Listener):
    numbers = itertools.count()
    listener.ask_twice(token=lambda: f"token-{next(numbers)}")
    assert [headers["authorization"] for headers in listener.headers] == ["Bearer token-0", "Bearer token-1"]


def test_headers_of_the_client_and_of_the_call_go_along(listener: Listener):
    client = listener.client(headers={"X-Tenant": "a", "x-other": "b"})
    listener.ask(client, headers={"x-tenant": "c", "traceparent": TRACE})
    [headers] = listener.headers
    assert (headers["x-tenant"], headers["x-other"], headers["traceparent"]) == ("c", "b", TRACE)


def test_a_headers_function_is_asked_for_each_call(listener: Listener):
    numbers = itertools.count()
    listener.ask_twice(headers=lambda: {"traceparent": f"trace-{next(numbers)}"})
    assert [headers["traceparent"] for headers in listener.headers] == ["trace-0", "trace-1"]


def test_every_call_has_an_id_that_its_error_tells(listener: Listener):
    errors = [listener.ask() for _ in range(3)]
    ids = [headers["x-request-id"] for headers in listener.headers]
    assert ids == [error.request_id for error in errors]
    assert len(set(ids)) == 3
    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in ids)


def test_an_id_may_be_given(listener: Listener):
    assert listener.ask(headers={"X-Request-Id": "mine"}).request_id == "mine"
    assert listener.headers[0]["x-request-id"] == "mine"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "headers",
    [
        *({"": "x"}, {"a b": "x"}, {"naïve": "x"}, {"a:": "x"}, {1: "x"}, {"a\n": "x"}, {"x-bin": "x"}),
        *({"Host": "x"}, {"content-length": "1"}, {"grpc-timeout": "1S"}, {"te": "x"}),
        *({"x": f"{SECRET}\r\ny: z"}, {"x": f"{SECRET}é"}, {"x": SECRET.encode()}, {"x": None}, {"x": f" {SECRET}"}),
        *(["x"], "x"),
    ],
)
def test_headers_that_cannot_be_sent_are_refused(kind: Callable[..., Any], headers: Any):
    with pytest.raises(InvalidInput, match=r"^headers: ") as info:
        kind("localhost:1", model="flowers", headers=headers)
    assert SECRET not in str(info.value)
    client = kind("localhost:1", model="flowers")
    with pytest.raises(InvalidInput, match=r"^headers: "):
        ask(client, "status", headers=headers)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("token", ["", f"{SECRET}\n", f"Bearer {SECRET}", f"{SECRET}é", SECRET.encode(), 7])
def test_tokens_that_cannot_be_sent_are_refused_and_not_shown(kind: Callable[..., Any], token: Any):
    with pytest.raises(InvalidInput, match=r"^token: ") as info:
        kind("localhost:1", model="flowers", token=token)
    assert SECRET not in str(info.value)
    with pytest.raises(InvalidInput, match=r"^token: ") as info:
        ask(kind("localhost:1", model="flowers", token=lambda: token), "status")
    assert SECRET not in str(info.value)


def test_the_token_is_never_shown(listener: Listener, closed_port: int):
    client = listener.client(token=SECRET, headers={"x-key": SECRET})
    assert SECRET not in repr(client)
    assert SECRET not in str(listener.ask(client))
    nobody = type(client)(f"localhost:{closed_port}", model="flowers", token=SECRET, retries=0)
    with pytest.raises(VitrineError) as info:
        ask(nobody, "status")
    chain: BaseException | None = info.value
    while chain is not None:
        assert SECRET not in repr(chain)
        chain = chain.__cause__ or chain.__context__


def test_a_copy_that_pip_knows_nothing_of_works(listener: Listener, monkeypatch: pytest.MonkeyPatch):
    def unknown(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", unknown)
    assert "refused" in str(listener.ask())


@pytest.mark.parametrize("credentials", [{"token": "mine"}, {"headers": {"Authorization": "Bearer mine"}}])
def test_credentials_that_netrc_has_for_the_host_do_not_replace_the_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, credentials: dict[str, Any]
):
    (tmp_path / "netrc").write_text("machine models.example login somebody password else\n")
    (tmp_path / "netrc").chmod(0o600)
    with SocketServer(lambda number, connection: connection.sendall(reply(400, b'{"error": "no"}'))) as proxy:
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        # The name needs no address: a proxy is asked for it.
        monkeypatch.setenv("http_proxy", proxy.address)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        with (
            RestClient("http://models.example", model="flowers", **credentials) as client,
            pytest.raises(InvalidInput, match="no"),
        ):
            client.status()
    assert proxy.requests[0].startswith(b"GET http://models.example/v1/models/flowers ")
    assert headers_of(proxy.requests[0])["authorization"] == "Bearer mine"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirection_is_not_followed(status: int):
    with (
        SocketServer(lambda number, connection: connection.sendall(reply(200))) as elsewhere,
        SocketServer(
            lambda number, connection: connection.sendall(reply(status, b"", f"Location: {elsewhere.address}/"))
        ) as server,
        RestClient(server.address, model="flowers", token=SECRET) as client,
        pytest.raises(BadResponse, match=str(status)),
    ):
        client.status()
    assert (len(server.requests), len(elsewhere.requests)) == (1, 0)
