"""The command `vitrine-model-server`."""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from types import FrameType

from vitrine_serving.embedded.flags import Flags, parse

logger = logging.getLogger("vitrine_serving.embedded")


class _StartupError(Exception):
    """Why the server cannot start, in one line that says what to do about it."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until a signal; ends the process with code 0, 1 (could not start) or 2 (wrong usage)."""
    flags = parse(arguments)
    stop = _Stop()
    try:
        _serve(flags, stop)
    except _StartupError as error:
        sys.stderr.write(f"vitrine-model-server: error: {error}\n")
        sys.stderr.flush()
        os._exit(1)
    sys.stderr.flush()
    # A load still running would hold up an ordinary exit for as long as it takes.
    os._exit(0)


def _serve(flags: Flags, stop: _Stop) -> None:
    grpc_socket = _bind("--port", flags.port) if flags.port else None
    rest_socket = _bind("--rest_api_port", flags.rest_api_port) if flags.rest_api_port else None
    if os.path.isfile(flags.model_base_path):  # noqa: PTH113  (a Path raises where this says no)
        raise _StartupError(
            f"--model_base_path {flags.model_base_path} is a file; "
            "give the directory that holds the model's numbered versions"
        )
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # TensorFlow would import Keras, and scikit-learn with it, for `tf.keras` alone: a quarter of the time to start.
    sys.modules.setdefault("keras", None)  # type: ignore[arg-type]
    # Importing TensorFlow takes seconds: whatever can be refused is refused before.
    from vitrine_serving.embedded.errors import ServingError
    from vitrine_serving.embedded.server import Server

    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    logger.setLevel(logging.INFO)
    # TensorFlow's objects stay for good, and large JSON bodies make the collector look through all there are time and
    # again. What models bring comes later and can go again.
    gc.freeze()
    for name in flags.ineffective:
        logger.warning("--%s has no effect here", name)
    try:
        server = Server(flags)
        server.load(stop.is_set)
    except ServingError as error:
        raise _StartupError(error.message) from error
    if not stop.is_set():
        try:
            server.start(grpc_socket, rest_socket)
        except OSError as error:
            raise _StartupError(f"cannot listen: {error}") from error
        stop.wait()
    server.stop()


class _Stop:
    """Whether a signal has asked the process to end."""

    def __init__(self) -> None:
        self._asked = False
        # The byte is written by Python's signal handler in C, whichever thread the signal reaches and whatever that
        # holds. An Event, set from a handler, would wait for locks of the code it interrupts.
        self._reader, writer = socket.socketpair()
        writer.setblocking(False)
        signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        self._writer = writer
        signal.signal(signal.SIGTERM, self._handle)
        signal.signal(signal.SIGINT, self._handle)

    def is_set(self) -> bool:
        return self._asked

    def wait(self) -> None:
        while not self._asked:
            self._reader.recv(1)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self._asked:
            os._exit(128 + number)
        self._asked = True


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
