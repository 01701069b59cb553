"""Closed-loop load: as many clients as asked, each sending its next request when it has the answer to the last."""

from __future__ import annotations

import http.client
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import grpc

Send = Callable[[], None]
_PREDICT = "/tensorflow.serving.PredictionService/Predict"


@dataclass
class Load:
    """What running clients have done so far."""

    seconds: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        return len(self.seconds)

    def require_no_errors(self) -> None:
        """A figure of a server that fails requests is worth nothing."""
        if self.errors:
            raise RuntimeError(f"{len(self.errors)} requests failed, such as: {self.errors[0]}")


@contextmanager
def clients(makers: Sequence[Callable[[], Send]]) -> Iterator[Load]:
    """Run one client thread for each maker while the block does; a client that fails goes on."""
    load = Load()
    stop = threading.Event()

    def run(make: Callable[[], Send]) -> None:
        send = make()
        while not stop.is_set():
            started = time.perf_counter()
            try:
                send()
            except Exception as error:
                load.errors.append(f"{type(error).__name__}: {error}")
                continue
            load.seconds.append(time.perf_counter() - started)

    threads = [threading.Thread(target=run, args=[make], daemon=True) for make in makers]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def grpc_client(port: int, payloads: Sequence[bytes]) -> Callable[[], Send]:
    """A client with a connection of its own that sends the serialized PredictRequests in turn."""

    def make() -> Send:
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
        channel = grpc.insecure_channel(f"127.0.0.1:{port}", options)
        call = channel.unary_unary(_PREDICT)
        turn = itertools.cycle(payloads)

        def send() -> None:
            call(next(turn), timeout=60)

        return send

    return make


def rest_client(port: int, bodies: Sequence[bytes], path: str = "/v1/models/model:predict") -> Callable[[], Send]:
    """A client with a connection of its own that posts the bodies in turn."""

    def make() -> Send:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        turn = itertools.cycle(bodies)

        def send() -> None:
            connection.request("POST", path, next(turn), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            content = answer.read()
            if answer.status != 200:
                raise RuntimeError(f"HTTP {answer.status}: {content[:200]!r}")

        return send

    return make
