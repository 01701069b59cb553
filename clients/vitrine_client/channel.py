"""gRPC channels: where they lead, how they are secured, and what is tried again."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Sequence
from typing import Any, NamedTuple

import grpc

from vitrine_client.errors import InvalidInput, Unavailable
from vitrine_client.settings import FIRST_BACKOFF, LONGEST_BACKOFF, TLS, is_loopback

logger = logging.getLogger(__name__)

PREDICTION_SERVICE = "tensorflow.serving.PredictionService"
MODEL_SERVICE = "tensorflow.serving.ModelService"
HEALTH_SERVICE = "grpc.health.v1.Health"

# A server without more work for now, or that is going away. Nothing that these calls ask for changes anything, so they
# are asked again; a reload is not, since another one may have come in between.
_RETRIED_METHODS = [
    {"service": PREDICTION_SERVICE},
    {"service": MODEL_SERVICE, "method": "GetModelStatus"},
    {"service": HEALTH_SERVICE},
]
# A server that is shutting down cancels what reaches it before its clients know.
_RETRIED_CODES = ["UNAVAILABLE", "RESOURCE_EXHAUSTED", "CANCELLED"]

_OPTIONS: list[tuple[str, Any]] = [
    # A model's answer may well be over gRPC's 4 MiB.
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # What it keeps of a request, to send it again: by default 256 KiB, above which nothing is tried again.
    ("grpc.per_rpc_retry_buffer_size", 2**31 - 1),
    # gRPC's own pauses grow to two minutes, in which a server that came back is not noticed.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # Names are looked up again when a connection is lost, and by default not more often than every 30 s.
    ("grpc.dns_min_time_between_resolutions_ms", 5000),
    # Servers hang up on clients that ping more often than every five minutes. What counts is the timeout: with
    # keepalive on, gRPC has the kernel drop a connection on which nothing sent is acknowledged for so long.
    ("grpc.keepalive_time_ms", 300_000),
    ("grpc.keepalive_timeout_ms", 10_000),
]


# gRPC's ways of naming servers besides host:port.
_NAME_SCHEMES = ("dns:", "unix:", "unix-abstract:", "vsock:", "ipv4:", "ipv6:", "xds:", "passthrough:")


class Target(NamedTuple):
    """Where a channel leads.

    Attributes:
        name: what it is called in messages.
        addresses: as given: one, or several that serve alike.
    """

    name: str
    addresses: tuple[str, ...]

    @property
    def balanced(self) -> bool:
        """Whether calls take turns between the addresses. A plain host:port may be two, of IPv4 and IPv6."""
        return len(self.addresses) > 1 or self.addresses[0].startswith("dns:")


class Settings(NamedTuple):
    """What it takes to open a channel."""

    target: Target
    tls: TLS | None
    retries: int

    def arguments(self) -> tuple[str, list[tuple[str, Any]]]:
        """The channel's target and options. Raises Unavailable for a list of names without an address."""
        options = [*_OPTIONS, ("grpc.service_config", _service_config(self.retries, self.target.balanced))]
        options.append(("grpc.primary_user_agent", _user_agent()))
        if all(_is_loopback(address) for address in self.target.addresses):
            # A proxy that the environment names for the world outside does not lead to this machine.
            options.append(("grpc.enable_http_proxy", 0))
        if name := self.server_name():
            options.append(("grpc.ssl_target_name_override", name))
        addresses = self.target.addresses
        return (addresses[0] if len(addresses) == 1 else _resolved(addresses)), options

    def server_name(self) -> str | None:
        """The name that the certificate has to have; None for the target's own."""
        if self.tls is None or self.tls.server_name or len(self.target.addresses) == 1:
            return self.tls.server_name if self.tls else None
        # gRPC checks one name for all addresses of a list.
        hosts = {_host_and_port(address)[0] for address in self.target.addresses}
        if len(hosts) > 1:
            raise InvalidInput("tls: servers of several names: give TLS(server_name=...), which all certificates have")
        return hosts.pop()

    def open(self, api: Any, target: str, options: Sequence[tuple[str, Any]]) -> Any:
        """A channel of `grpc` or `grpc.aio`, which is `api`, with `arguments()`."""
        if self.tls is None:
            return api.insecure_channel(target, options=options)
        return api.secure_channel(target, grpc.ssl_channel_credentials(*self.tls.read()), options=options)


def settings(target: Target, tls: TLS | None, retries: int) -> Settings:
    """Raises InvalidInput for a `tls` that is none, or that cannot be checked against a list of several names."""
    if tls is not None and not isinstance(tls, TLS):
        raise InvalidInput(f"tls={tls!r}: give vitrine_client.TLS(...); TLS() for certificates that are publicly known")
    made = Settings(target, tls, retries)
    made.server_name()
    return made


def target_of(target: str | Sequence[str]) -> Target:
    """A target from what a user gives.

    Raises:
        InvalidInput: no host:port, nor another gRPC name, nor a list of host:port.
    """
    if isinstance(target, str):
        if not target or target.startswith(("http://", "https://")):
            raise InvalidInput(f"target={target!r}: give host:port, such as localhost:8500; URLs are RestClient's")
        if not target.startswith(_NAME_SCHEMES) and not all(_host_and_port(target)):
            raise InvalidInput(f"target={target!r}: give host:port, such as localhost:8500")
        return Target(target, (target,))
    if not isinstance(target, Sequence) or not target:
        raise InvalidInput(f"target={target!r}: give host:port, such as localhost:8500, or a list of them")
    for address in target:
        if not isinstance(address, str) or not all(_host_and_port(address)):
            raise InvalidInput(f"target: {address!r} in a list: give host:port, such as localhost:8500")
    return Target(", ".join(target), tuple(target))


def _user_agent() -> str:
    # Here, because it is a tenth of what importing this package would cost.
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"vitrine-client/{version('vitrine-client')}"
    except PackageNotFoundError:
        # Copied into an application without what pip knows of it.
        return "vitrine-client"


def _is_loopback(address: str) -> bool:
    host = _host_and_port(address.removeprefix("dns:///"))[0]
    return is_loopback(host)


def _host_and_port(address: str) -> tuple[str, str]:
    host, _, port = address.rpartition(":")
    known = port.isascii() and port.isdigit() and 0 < int(port) < 2**16 and "/" not in host
    return (host.removeprefix("[").removesuffix("]"), port) if known else ("", "")


def _resolved(addresses: Sequence[str]) -> str:
    """A list as gRPC takes it: of IP addresses, all of one family. Names without an address are left out."""
    found: list[tuple[dict[int, str], str]] = []
    failures = []
    for address in addresses:
        host, port = _host_and_port(address)
        try:
            infos = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            failures.append(f"{address}: {getattr(error, 'strerror', None) or error}")
            continue
        found.append(({family: str(place[0]) for family, _, _, _, place in reversed(infos)}, port))
    if not found:
        said = "; ".join(failures)
        raise Unavailable(said, said)
    for failure in failures:
        # The other servers can do without; whoever mistyped a name has to hear of it.
        logger.warning("A server is left out until the client is made anew: %s", failure)
    if all(socket.AF_INET in families for families, _ in found):
        return f"ipv4:{','.join(f'{families[socket.AF_INET]}:{port}' for families, port in found)}"
    # An IPv4 address among IPv6 ones is written as the IPv6 address that stands for it.
    places = ((families.get(socket.AF_INET6) or f"::ffff:{families[socket.AF_INET]}", port) for families, port in found)
    return f"ipv6:{','.join(f'[{host}]:{port}' for host, port in places)}"


def _service_config(retries: int, balanced: bool) -> str:
    config: dict[str, Any] = {"loadBalancingConfig": [{"round_robin" if balanced else "pick_first": {}}]}
    if retries:
        policy = {
            "maxAttempts": retries + 1,
            "initialBackoff": f"{FIRST_BACKOFF}s",
            "maxBackoff": f"{LONGEST_BACKOFF}s",
            "backoffMultiplier": 2,
            "retryableStatusCodes": _RETRIED_CODES,
        }
        config["methodConfig"] = [{"name": _RETRIED_METHODS, "retryPolicy": policy}]
    return json.dumps(config)
