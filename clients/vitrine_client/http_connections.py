"""HTTP connections that keep to a deadline, and that are kept for the next request."""

from __future__ import annotations

import contextlib
import io
import socket
import threading
import time
import weakref
from collections.abc import Callable
from http.client import HTTPResponse
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

_POOL_SIZE = 64


class Adapter(HTTPAdapter):
    """Takes a request's timeout for that of its whole answer, and hangs up on all servers when it is closed.

    Args:
        server_name: the name that a certificate has to have, where it is not the address's.
        connect_seconds: how long a connection may take to come about.
    """

    def __init__(self, server_name: str | None, connect_seconds: float) -> None:
        self._server_name = server_name
        self._connections: weakref.WeakSet[HTTPConnection] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._closed = False
        self._pools = _pools(connect_seconds, self._connected)
        super().__init__(pool_maxsize=_POOL_SIZE)

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        # Idle connections are probed, so that firewalls keep them and dead ones are noticed.
        keepalive = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
        for name, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
            if hasattr(socket, name):
                keepalive.append((socket.IPPROTO_TCP, getattr(socket, name), value))
        options["socket_options"] = [*HTTPConnection.default_socket_options, *keepalive]
        if self._server_name is not None:
            options |= {"server_hostname": self._server_name, "assert_hostname": self._server_name}
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **options)
        if not proxy.lower().startswith("socks"):
            manager.pool_classes_by_scheme = self._pools
        return manager

    def close(self) -> None:
        super().close()
        with self._lock:
            self._closed = True
            connections = list(self._connections)
        for connection in connections:
            # Closing alone would not wake whoever waits for an answer from it.
            if (open_socket := connection.sock) is not None:
                with contextlib.suppress(OSError):
                    open_socket.shutdown(socket.SHUT_RDWR)

    def _connected(self, connection: HTTPConnection) -> None:
        with self._lock:
            if self._closed:
                connection.close()
                raise ConnectionAbortedError("closed")
            self._connections.add(connection)


class _Response(HTTPResponse):
    def __init__(self, connection: socket.socket, *arguments: Any, **options: Any) -> None:
        super().__init__(connection, *arguments, **options)
        self.fp.close()
        self.fp = io.BufferedReader(_Incoming(connection))


class _Incoming(io.RawIOBase):
    """What a connection brings until its timeout. By itself, a socket's timeout starts anew with every byte."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._deadline = time.monotonic() + (connection.gettimeout() or float("inf"))
        self._file = connection.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        seconds = self._deadline - time.monotonic()
        if seconds <= 0:
            raise TimeoutError("timed out")
        self._connection.settimeout(None if seconds == float("inf") else seconds)
        return self._file.readinto(buffer)

    def close(self) -> None:
        self._file.close()
        super().close()


def _pools(connect_seconds: float, connected: Callable[[HTTPConnection], None]) -> dict[str, type[HTTPConnectionPool]]:
    """Pools by scheme, whose connections are told to `connected`."""

    class Plain(HTTPConnection):
        response_class = _Response

        def connect(self) -> None:
            _connect(self, super().connect, connect_seconds)
            connected(self)

    class Secure(HTTPSConnection):
        response_class = _Response

        def connect(self) -> None:
            _connect(self, super().connect, connect_seconds)
            connected(self)

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    # Messages begin with these names.
    PlainPool.__name__, SecurePool.__name__ = "HTTPConnectionPool", "HTTPSConnectionPool"
    Plain.__name__, Secure.__name__ = "HTTPConnection", "HTTPSConnection"
    return {"http": PlainPool, "https": SecurePool}


def _connect(connection: Any, connect: Callable[[], None], most_seconds: float) -> None:
    # What urllib3 calls the timeout for connecting is the one for sending the request, too.
    seconds = connection.timeout
    connection.timeout = min(seconds, most_seconds)
    try:
        connect()
    finally:
        connection.timeout = seconds
    connection.sock.settimeout(seconds)
