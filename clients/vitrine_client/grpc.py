"""The client that speaks gRPC: the faster transport, and the one that keeps dtypes."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grpc

from vitrine_client import channel, forks, grpc_messages
from vitrine_client.base import CLOSED
from vitrine_client.blocking import Client
from vitrine_client.model_config import ModelConfig
from vitrine_client.settings import TLS, Headers, Token
from vitrine_client.steps import Request

_Methods = Mapping[str, Callable[..., Any]]


class GrpcClient(Client):
    """A model on a server's gRPC port, or on several servers' that serve it alike.

    It connects with the first call. Made before a fork (gunicorn with `--preload`, multiprocessing) and used only in
    the children, it works in each of them. Once used, it tells a child that it cannot: gRPC's threads do not survive a
    fork. Nor can a child use a client of its own where one was open in its parent within the last second;
    that, too, is told.

    Args:
        target: `host:port`; a list of them, or `dns:///host:port` for a name with several addresses, to take turns
            between them and go round one that is gone (the names in a list are looked up once); or another gRPC name,
            such as `unix:/path`.
        model: the name that the server knows the model by.
        version, label: the version to ask, by number or by label; the highest loaded one if both are None.
        timeout: seconds from a call to its whole answer, retries included.
        retries: how often a call is made again that the server could not take (UNAVAILABLE, RESOURCE_EXHAUSTED,
            CANCELLED), 0 to 4; pauses begin at 0.2 s and double, up to 1 s.
        tls: transport security; None for none.
        token: sent as `authorization: Bearer ...`, or a function that returns the present one for each call. Without
            `tls` anybody on the way can read it.
        headers: texts by name that go along with every call, or a function that returns them for each call, such as
            one that injects the present trace.
        max_batch_size: rows in one request; larger batches are sent in parts. None learns it from the server's refusal
            of a larger one.

    Raises:
        InvalidInput: an argument that cannot be used.
    """

    def __init__(
        self,
        target: str | Sequence[str],
        *,
        model: str,
        version: int | None = None,
        label: str | None = None,
        timeout: float = 30.0,
        retries: int = 4,
        tls: TLS | None = None,
        token: Token | None = None,
        headers: Headers | None = None,
        max_batch_size: int | None = None,
    ) -> None:
        where = channel.target_of(target)
        super().__init__(
            f"{where.name} (gRPC)",
            model=model,
            version=version,
            label=label,
            timeout=timeout,
            retries=retries,
            token=token,
            headers=headers,
            max_batch_size=max_batch_size,
        )
        self._settings = channel.settings(where, tls, retries)
        self._lock = threading.Lock()
        self._channel: grpc.Channel | None = None
        self._methods: _Methods = {}
        self._process: int | None = None

    def reload_config(
        self,
        models: Sequence[ModelConfig],
        *,
        timeout: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Has the server serve these models and no others.

        It returns once the models that are new are there. Another version of a model that is served already may come
        later: `wait_until_available` tells; a label can go to it only then. A reload is not tried again.

        Raises:
            InvalidInput: the server refuses the list.
            ServerError: a model cannot be loaded, or a label is for a version that is not available.
        """
        call = self._begin(timeout=timeout, headers=headers)
        self._run(self._reload(call, grpc_messages.checked_models(models)))

    def _answer(self, request: Request) -> Any:
        path, content = grpc_messages.encode(request)
        call = request.call
        try:
            method = self._methods.get(path) if self._process == os.getpid() else None
            method = method or self._connected()[path]
            answer = method(content, timeout=call.remaining(), metadata=grpc_messages.metadata(call.headers))
        except grpc.RpcError as error:
            if self._closed:
                raise RuntimeError(CLOSED) from error
            raise grpc_messages.error_of(request, error.code(), error.details() or "") from error
        except ValueError as error:
            # What gRPC says of a channel that another thread has closed.
            if self._closed:
                raise RuntimeError(CLOSED) from error
            raise
        return grpc_messages.decode(request, answer)

    def _connected(self) -> _Methods:
        # Before the lock: at the fork, another thread may have had it.
        if self._process not in (None, os.getpid()):
            raise RuntimeError(
                "this client was used before the process was forked, and gRPC's threads do not survive that: make "
                "the client in the child, or do not use it before the fork"
            )
        forks.check()
        with self._lock:
            if self._closed:
                raise RuntimeError(CLOSED)
            if self._channel is None:
                self._process = os.getpid()
                target, options = self._settings.arguments()
                self._channel = self._settings.open(grpc, target, options)
                forks.opened(self._channel)
                self._methods = grpc_messages.methods_of(self._channel)
        return self._methods

    def _disconnect(self) -> None:
        if self._process != os.getpid():
            return
        with self._lock:
            if self._channel is not None:
                self._channel.close()
                forks.closed(self._channel)
