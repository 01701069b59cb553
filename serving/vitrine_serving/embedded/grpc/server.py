"""The gRPC server: where it listens, with which credentials and limits."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import grpc

from vitrine_serving.embedded.core import Core
from vitrine_serving.embedded.errors import Code, ServingError
from vitrine_serving.embedded.grpc.calls import GrpcHooks, Limited, surrounded
from vitrine_serving.embedded.grpc.health import Health
from vitrine_serving.embedded.grpc.pool import CallPool
from vitrine_serving.embedded.grpc.service import Services, handlers

# How long calls may be on their way from a connection to the pool when the server is to stop.
_SETTLE_SECONDS = 1.0
_MOMENT_SECONDS = 0.1
_EXHAUSTED = ServingError(Code.RESOURCE_EXHAUSTED, "Server Threadpool Exhausted")


@dataclass(frozen=True)
class GrpcOptions:
    """How to serve gRPC; the names follow the server's flags.

    `threads` handle calls and more wait for one of them, unless `max_calls`, the most that may be in flight, refuses
    them with `refusal`. `max_message_bytes` -1 is no limit but protobuf's own of 2 GiB.
    """

    addresses: Sequence[str]
    threads: int
    credentials: grpc.ServerCredentials | None = None
    max_calls: int | None = None
    refusal: ServingError = _EXHAUSTED
    channel_arguments: Sequence[tuple[str, int | str]] = ()
    max_message_bytes: int = -1
    tensor_content: bool = False


def start(
    core: Core, options: GrpcOptions, health: Health | None = None, hooks: GrpcHooks | None = None
) -> Callable[[float], None]:
    """Serve on all the addresses; returns a function that stops accepting and waits up to so many seconds.

    Raises OSError when an address cannot be bound.
    """
    pool = CallPool(options.threads, "grpc")
    server = grpc.server(
        pool,
        options=[
            ("grpc.max_receive_message_length", options.max_message_bytes),
            ("grpc.max_send_message_length", -1),
            # Without this a second server on a busy port would silently share its connections.
            ("grpc.so_reuseport", 0),
            *options.channel_arguments,
        ],
    )
    services = Services(core, options.tensor_content)
    told = hooks or GrpcHooks()
    for handler in handlers(services, partial(surrounded, hooks=told, finishing=pool.finishing)):
        if options.max_calls is not None:
            handler = Limited(handler, pool, options.max_calls, options.refusal, told)
        server.add_generic_rpc_handlers([handler])
    if health is not None:
        health.add_to(server)
    for address in options.addresses:
        try:
            if options.credentials is None:
                server.add_insecure_port(address)
            else:
                server.add_secure_port(address, options.credentials)
        except RuntimeError as error:
            raise OSError(f"gRPC cannot bind {address}") from error
    server.start()

    def stop(grace: float) -> None:
        deadline = time.monotonic() + grace
        # gRPC cancels the calls that it has not handed over yet. While none is answered few new ones come, and those
        # that are there are handed over.
        pool.hold()
        _wait_until_settled(pool, min(grace, _SETTLE_SECONDS))
        stopped = server.stop(max(0.0, deadline - time.monotonic()))
        pool.go_on()
        stopped.wait()
        pool.shutdown()

    return stop


def _wait_until_settled(pool: CallPool, seconds: float) -> None:
    """Until no call has come for a moment, or the time is up."""
    deadline = time.monotonic() + seconds
    before = -1
    while pool.in_flight != before and time.monotonic() < deadline:
        before = pool.in_flight
        time.sleep(_MOMENT_SECONDS)
