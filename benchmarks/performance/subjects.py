"""What is compared: the embedded server, TensorFlow Serving, and the peers, each started and asked in the same way."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

from benchmarks import load, models, processes
from benchmarks.peers import clients, environments, servers
from benchmarks.peers.catalogue import PEERS, Peer
from benchmarks.performance import gpu
from benchmarks.performance.section import Bench, NotHere

# Clients that start with different pictures: otherwise all would send the largest at the same time.
_ROTATIONS = 8

Maker = Callable[[], load.Send]


@dataclass(frozen=True)
class Running:
    """A server that has answered.

    Attributes:
        client: from pictures, a maker of clients that send them in turn.
        megabytes: memory of all its processes, shared pages counted once (PSS); None where the kernel does not tell.
        start_seconds: from its start to its first answer.
    """

    client: Callable[[Sequence[bytes]], Maker]
    megabytes: Callable[[], float | None]
    start_seconds: float

    def makers(self, pictures: Sequence[bytes], count: int) -> list[Maker]:
        """`count` clients of a connection each."""
        rotated = []
        for number in range(min(count, _ROTATIONS)):
            first = number * len(pictures) // min(count, _ROTATIONS)
            rotated.append(self.client([*pictures[first:], *pictures[:first]]))
        return [rotated[number % len(rotated)] for number in range(count)]


@dataclass(frozen=True)
class Subject:
    """A way of serving. `start` raises NotHere where this machine cannot."""

    name: str
    start: Callable[[], AbstractContextManager[Running]]
    is_peer: bool = False


EMBEDDED_GRPC, EMBEDDED_REST = "embedded, gRPC", "embedded, REST"
TENSORFLOW_SERVING = "TensorFlow Serving, gRPC"


def embedded(bench: Bench, *flags: str) -> Subject:
    """By gRPC, with the flags it chooses itself and those given."""
    return Subject(EMBEDDED_GRPC, partial(_engine, bench, processes.embedded_server, grpc_client, *flags))


def embedded_rest(bench: Bench) -> Subject:
    return Subject(EMBEDDED_REST, partial(_engine, bench, processes.embedded_server, rest_client))


def tensorflow_serving(bench: Bench, *flags: str) -> Subject:
    start = partial(processes.tensorflow_serving, gpu=gpu.here())
    return Subject(TENSORFLOW_SERVING, partial(_tensorflow_serving, bench, start, *flags))


def peers_of(bench: Bench) -> list[list[Subject]]:
    """Those that the run was asked for, each with its dynamic batching on and off."""
    asked = [peer for peer in PEERS.values() if peer.package in bench.peers]
    return [[_peer_subject(bench, peer, batching) for batching in (True, False)] for peer in asked]


def _peer_subject(bench: Bench, peer: Peer, batching: bool) -> Subject:
    name = f"{peer.name}, batching {'on' if batching else 'off'}"
    return Subject(name, partial(_peer, bench, peer, batching), is_peer=True)


@contextlib.contextmanager
def _tensorflow_serving(bench: Bench, start: processes.Start, *flags: str) -> Iterator[Running]:
    if not processes.tensorflow_serving_here():
        raise NotHere("not on this machine: no tensorflow_model_server on PATH")
    with _engine(bench, start, grpc_client, *flags) as running:
        yield running


@contextlib.contextmanager
def _engine(
    bench: Bench,
    start: processes.Start,
    client: Callable[[processes.ServerProcess, Sequence[bytes]], Maker],
    *flags: str,
) -> Iterator[Running]:
    started = time.perf_counter()
    with start(bench.model, *flags) as server:
        ask = partial(client, server)
        ask(bench.pictures(1))()()
        seconds = time.perf_counter() - started
        yield Running(ask, server.proportional_megabytes, seconds)


@contextlib.contextmanager
def _peer(bench: Bench, peer: Peer, batching: bool) -> Iterator[Running]:
    environment = environments.environment(peer, bench.work)
    with servers.running(peer, environment, bench.model / "1", bench.cores, batching=batching) as server:
        yield Running(partial(clients.client, peer, server.port), server.proportional_megabytes, server.start_seconds)


def grpc_client(server: processes.ServerProcess, pictures: Sequence[bytes]) -> Maker:
    """Makes clients that send the pictures in turn, to the model's default signature."""
    return load.grpc_client(
        server.grpc_port, [models.photo_request(picture).SerializeToString() for picture in pictures]
    )


def rest_client(server: processes.ServerProcess, pictures: Sequence[bytes]) -> Maker:
    """As `grpc_client`."""
    return load.rest_client(server.rest_port, [models.photo_json(picture) for picture in pictures])


CLIENT_OF = {"gRPC": grpc_client, "REST": rest_client}
"""By transport, for `vitrine-model-server` and what answers as it does."""
