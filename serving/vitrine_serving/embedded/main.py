"""The command `vitrine-model-server`."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from vitrine_serving.embedded.flags import Flags, parse

logger = logging.getLogger("vitrine_serving.embedded")


class _StartupError(Exception):
    """Why the server cannot start, in one line that says what to do about it."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until a signal; ends the process with code 0, 1 (could not start) or 2 (wrong usage)."""
    flags = parse(arguments)
    stop = _stop_on_signal()
    try:
        _serve(flags, stop)
    except _StartupError as error:
        sys.stderr.write(f"vitrine-model-server: error: {error}\n")
        sys.stderr.flush()
        os._exit(1)
    sys.stderr.flush()
    # A load still running would hold up an ordinary exit for as long as it takes.
    os._exit(0)


def _serve(flags: Flags, stop: threading.Event) -> None:
    grpc_socket = _bind("--port", flags.port)
    rest_socket = _bind("--rest_api_port", flags.rest_api_port) if flags.rest_api_port else None
    if Path(flags.model_base_path).is_file():
        raise _StartupError(
            f"--model_base_path {flags.model_base_path} is a file; "
            "give the directory that holds the model's numbered versions"
        )
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Importing TensorFlow takes seconds: whatever can be refused is refused before.
    from vitrine_serving.embedded.errors import ServingError
    from vitrine_serving.embedded.server import Server

    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    logger.setLevel(logging.INFO)
    for name in flags.ineffective:
        logger.warning("--%s has no effect here", name)
    try:
        server = Server(flags)
        server.load(stop)
    except ServingError as error:
        raise _StartupError(error.message) from error
    except OSError as error:
        raise _StartupError(f"cannot open --access_log {flags.access_log}: {error.strerror or error}") from error
    if not stop.is_set():
        try:
            server.start(grpc_socket, rest_socket)
        except OSError as error:
            raise _StartupError(f"cannot listen on --port and --grpc_socket_path: {error}") from error
        stop.wait()
    server.stop()


def _stop_on_signal() -> threading.Event:
    stop = threading.Event()

    def handle(number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)
    return stop


def _bind(flag: str, port: int) -> socket.socket:
    """Take the port on every interface, without accepting connections yet."""
    dual_stack = socket.has_dualstack_ipv6()
    bound = socket.socket(socket.AF_INET6 if dual_stack else socket.AF_INET)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if dual_stack:
        bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    try:
        bound.bind(("", port))
    except OSError as error:
        raise _StartupError(
            f"cannot listen on {flag} {port}: {error.strerror or error}; stop what uses the port or choose another"
        ) from error
    return bound


if __name__ == "__main__":
    main()
