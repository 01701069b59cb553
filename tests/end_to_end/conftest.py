"""A real server with a real export, for the whole way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from processes import free_port

from vitrine_client import GrpcClient, RestClient
from vitrine_serving.engines import ServerOptions, choose
from vitrine_serving.server_process import running_server

Connect = Callable[..., AbstractContextManager[GrpcClient | RestClient]]


@pytest.fixture(scope="session")
def digits_server(digits_store: Path) -> Iterator[ServerOptions]:
    """The embedded server with version 1 of digits."""
    options = ServerOptions("digits", digits_store / "digits", free_port(), free_port())
    with running_server(choose("embedded"), options):
        yield options


@pytest.fixture(params=["grpc", "rest"])
def connect(request: pytest.FixtureRequest, digits_server: ServerOptions) -> Connect:
    """A client for each transport in turn: connect(), connect(version=3), connect(model="other")."""

    def connect(model: str = "digits", **options: int) -> GrpcClient | RestClient:
        if request.param == "grpc":
            return GrpcClient(f"localhost:{digits_server.grpc_port}", model=model, **options)
        return RestClient(f"localhost:{digits_server.rest_port}", model=model, **options)

    return connect
