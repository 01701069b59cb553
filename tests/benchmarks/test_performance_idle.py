"""Connections held by one thread, against a real server, and how idle ones are judged."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import wait_until

from benchmarks import load, models
from benchmarks.cores import cores_apart
from benchmarks.performance import connections, idle
from benchmarks.performance.section import Bench
from benchmarks.processes import ServerProcess, embedded_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    bench = Bench(data=None, work=Path(tmp_path_factory.mktemp("work")), rounds=1, seconds=1, cores=1)
    with embedded_server(connections.trivial_model(bench)) as server:
        yield server


@pytest.mark.parametrize("transport", ["gRPC", "REST"])
def test_each_connection_is_one_of_the_servers_and_answers_whenever_it_is_asked(server, transport):
    before = server.open_files()
    with connections.Connections(*connections.wires(server, transport, 30)) as held:
        latencies = held.ask(1000, 30)
        assert server.open_files() >= before + 30
        latencies += held.ask(1000, 75)

    assert len(latencies) == 105
    assert min(latencies) > 0
    wait_until(lambda: server.open_files() <= before + 2, "the server lets go of the connections")


@pytest.mark.parametrize("transport", ["gRPC", "REST"])
def test_a_request_that_the_server_refuses_is_no_answer(server, transport):
    request = models.trivial_request()
    request.model_spec.name = "another"
    ways = {
        "gRPC": (server.grpc_port, load.GrpcWire(request.SerializeToString())),
        "REST": (server.rest_port, load.RestWire(models.trivial_json(), "/v1/models/another:predict")),
    }
    port, wire = ways[transport]

    with connections.Connections(port, [wire]) as held, pytest.raises(RuntimeError, match=r"failed|404"):
        held.ask(100, 1)


def test_a_connection_that_was_closed_is_noticed():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closer = threading.Thread(target=lambda: listener.accept()[0].close())
        closer.start()
        wire = load.RestWire(b"{}")
        with (
            connections.Connections(listener.getsockname()[1], [wire]) as held,
            pytest.raises((RuntimeError, ConnectionError)),
        ):
            held.ask(100, 2)
        closer.join()


def test_answers_that_come_in_pieces_are_put_together():
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
    wire = load.RestWire(b"{}")

    whole = [wire.receive(answer[place : place + 1])[0] for place in range(len(answer))]

    assert whole == [False] * (len(answer) - 1) + [True]


@pytest.mark.parametrize(
    ("ratios", "worse"),
    [
        ([1.03] * 7, True),
        ([1.03] * 6 + [0.99], False),
        ([1.03] * 16 + [0.7] * 4, True),
        ([1.1] * 15 + [0.99] * 5, False),
        ([0.97] * 7, False),
        ([1.01] * 1200 + [0.99] * 800, True),
        ([1.01] * 1010 + [0.99] * 990, False),
    ],
)
def test_a_cost_is_what_chance_does_not_explain(ratios, worse):
    assert idle.is_worse(ratios) == worse


def test_two_servers_are_asked_in_turns_and_each_pays_for_its_own(tmp_path: Path) -> None:
    bench = Bench(data=None, work=tmp_path, rounds=1, seconds=1, cores=1)
    with idle.two_servers(bench, cores_apart()) as (first, second):
        found = idle.take_turns(first, second, 3)

    assert {transport: len(turns) for transport, turns in found.items()} == {"gRPC": 3, "REST": 3}
    for transport, turns in found.items():
        for turn in turns:
            assert min(turn.cpu) > 0
            assert len(turn.latencies[0]) == len(turn.latencies[1]) == idle.requests_a_turn(transport)
