"""What the REST API asks of, and tells, the rest of the server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vitrine_serving.embedded.errors import Code


@dataclass(frozen=True)
class Exchange:
    """One answered HTTP request, for the access log. Model and version are those in the path, or that answered."""

    method: str
    path: str
    status: int
    request_bytes: int
    response_bytes: int
    seconds: float
    model: str
    version: int | None
    peer: str
    request_id: str
    traceparent: str
    error: str


# Model name, version, signature name, API ("Predict", ..., or "" for no API's path), code, seconds.
FinishedHook = Callable[[str, int | None, str, str, Code, float], None]


@dataclass(frozen=True)
class RestHooks:
    """Callables for the application, each called on a request's thread; None where nobody listens."""

    # Whether every configured model serves, and the JSON document that says which do not.
    ready: Callable[[], tuple[bool, dict[str, Any]]] | None = None
    list_models: Callable[[], dict[str, Any]] | None = None
    metrics_text: Callable[[], str] | None = None
    on_request: Callable[[Exchange], None] | None = None
    # The next two come in pairs, for every request under /v1/.
    on_started: Callable[[], None] | None = None
    on_finished: FinishedHook | None = None
