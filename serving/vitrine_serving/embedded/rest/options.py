"""What the REST transport is told when it starts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RestOptions:
    """Limits and switches of the REST API; 0 means no limit where a limit may be left out."""

    # Requests in work at once; whole requests beyond that wait in line.
    threads: int = 16
    # A request may run for so long from its arrival; 0 or less for no limit.
    timeout_seconds: float = 30.0
    # Requests in work and in line; more are refused with 429.
    max_concurrent_requests: int = 0
    max_request_bytes: int = 0
    max_header_bytes: int = 64 * 1024
    # A request must have come in whole so long after its first byte.
    read_timeout_seconds: float = 60.0
    # A reply of which the client takes nothing for so long is dropped.
    write_timeout_seconds: float = 60.0
    # A connection without a request is kept for so long.
    idle_timeout_seconds: float = 75.0
    # Once stopped, requests in flight have so long to finish.
    drain_seconds: float = 30.0
    enable_cors_support: bool = False
    # /healthz, /readyz and the list of models at GET /v1/models.
    extensions: bool = False
    # Where Prometheus reads; None for nowhere.
    prometheus_path: str | None = None
