"""Addresses of several families and names, as a client takes them."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
from client_processes import Load, ServerProcess, running
from processes import wait_until
from standin_program import Service

from vitrine_client import Client, GrpcClient, InvalidInput, RestClient, Unavailable

CLIENTS = pytest.mark.parametrize("kind", [GrpcClient, RestClient])


@pytest.fixture
def ipv6() -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("needs IPv6")


def asked(client: Client, calls: int = 10) -> set[int]:
    """Ports of the servers that answer."""
    return {int(client.predict({"x": np.array([1])})["server"][0]) for _ in range(calls)}


@CLIENTS
@pytest.mark.usefixtures("ipv6")
@pytest.mark.parametrize("hosts", [["[::1]"], ["[::1]", "[::1]"], ["127.0.0.1", "[::1]"], ["[::1]", "localhost"]])
def test_addresses_of_both_families_may_share_a_list(kind: Callable[..., Client], hosts: list[str]):
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(running(host=host))[0] for host in hosts]
        client = stack.enter_context(kind([address(kind, server) for server in servers], model="echo"))
        seen: set[int] = set()
        # The first calls go to those whose connection is up first.
        wait_until(lambda: seen.update(asked(client)) or seen == ports(servers), "answers of all servers, and no other")


@CLIENTS
def test_names_in_a_list_that_have_no_address_are_told(kind: Callable[..., Client]):
    with (
        kind(["nowhere.invalid:1", "nowhere.invalid:2"], model="echo", timeout=30) as client,
        pytest.raises(Unavailable, match=r"nowhere\.invalid"),
    ):
        client.status()


@CLIENTS
def test_the_others_of_a_list_do_without_a_name_that_has_no_address(
    kind: Callable[..., Client], caplog: pytest.LogCaptureFixture
):
    with running() as [server], kind([address(kind, server), "nowhere.invalid:2"], model="echo") as client:
        assert asked(client) == ports([server])
    assert kind is RestClient or "nowhere.invalid:2" in caplog.text


def test_what_is_no_address_is_refused_in_a_list():
    for wrong in (["localhost"], ["http://localhost:1"], ["localhost:1", ""], ["localhost:0"], [":1"], [1], []):
        with pytest.raises(InvalidInput, match="target"):
            GrpcClient(wrong, model="echo")


def test_a_name_with_several_addresses_is_served_by_all_of_them():
    hosts = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
    with contextlib.ExitStack() as stack:
        port, numbers = 0, range(len(hosts))
        for number, host in zip(numbers, hosts, strict=True):
            service = Service()
            # They share a port, and so it cannot tell which of them has answered.
            service.port = number
            server = grpc.server(ThreadPoolExecutor(8), [service], options=[("grpc.so_reuseport", 0)])
            port = server.add_insecure_port(f"{host}:{port}")
            server.start()
            stack.callback(server.stop, None)
        resolver = stack.enter_context(name_server(hosts))
        load = stack.enter_context(Load(GrpcClient(f"dns://{resolver}/models.example:{port}", model="echo")))
        wait_until(
            lambda: load.failures or all(load.served[number] >= 20 for number in numbers),
            "calls to all of them",
        )
    assert not load.failures


def address(kind: Callable[..., Client], server: ServerProcess) -> str:
    return server.grpc if kind is GrpcClient else server.rest


def ports(servers: list[ServerProcess]) -> set[int]:
    return {server.port for server in servers}


@contextlib.contextmanager
def name_server(hosts: tuple[str, ...]) -> Iterator[str]:
    """A name server that has these IPv4 addresses for every name, and no others."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))

        def serve() -> None:
            while True:
                query, client = server.recvfrom(512)
                if not query:
                    return
                end = query.index(0, 12) + 5
                addresses = hosts if query[end - 4 : end - 2] == b"\0\1" else ()
                answer = query[:2] + struct.pack("!5H", 0x8180, 1, len(addresses), 0, 0) + query[12:end]
                for host in addresses:
                    # The name that was asked for, by its place; an IPv4 address, good for a minute.
                    answer += struct.pack("!3HIH", 0xC00C, 1, 1, 60, 4) + socket.inet_aton(host)
                server.sendto(answer, client)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield "{}:{}".format(*server.getsockname())
        finally:
            server.sendto(b"", server.getsockname())
            thread.join()
