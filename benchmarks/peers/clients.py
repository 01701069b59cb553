"""Clients of the peers, for benchmarks.load."""

from __future__ import annotations

import http.client
import itertools
from collections.abc import Callable, Sequence

from benchmarks.load import Send
from benchmarks.peers.catalogue import Peer

_SECONDS = 60


def client(peer: Peer, port: int, pictures: Sequence[bytes]) -> Callable[[], Send]:
    """A client with a connection of its own that sends the pictures in turn.

    What it sends raises RuntimeError for an answer that is not 200 or has no label.
    """
    make = asking(peer, port, pictures)

    def make_send() -> Send:
        ask = make()

        def send() -> None:
            ask()

        return send

    return make_send


def asking(peer: Peer, port: int, pictures: Sequence[bytes]) -> Callable[[], Callable[[], str]]:
    """The same, with the label as result."""
    bodies = [peer.body(picture) for picture in pictures]

    def make() -> Callable[[], str]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_SECONDS)
        turn = itertools.cycle(bodies)

        def ask() -> str:
            body = next(turn)
            try:
                connection.request("POST", peer.path, body.content, {"Content-Type": body.content_type})
                answer = connection.getresponse()
                content = answer.read()
            except (OSError, http.client.HTTPException):
                # The next request opens it anew.
                connection.close()
                raise
            if answer.status != 200:
                raise RuntimeError(f"HTTP {answer.status}: {content[:200]!r}")
            try:
                return peer.label(content)
            except (ValueError, LookupError, TypeError) as error:
                raise RuntimeError(f"an answer without a label, {content[:200]!r}: {error}") from None

        return ask

    return make
