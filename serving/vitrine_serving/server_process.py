"""A model server as a child process: started, waited for, stopped, whatever the engine."""

from __future__ import annotations

import contextlib
import ctypes
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from vitrine_client import DeadlineExceeded, RestClient, VitrineError
from vitrine_serving.config.monitoring import monitoring_text
from vitrine_serving.engines import Engine, ServerOptions
from vitrine_serving.errors import CommandError
from vitrine_serving.model_store import newest_version

STOP_SECONDS = 40
START_SECONDS = 300
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def interrupt_on_signals() -> None:
    """Have SIGTERM, and SIGHUP of a terminal that closes, end a command as Ctrl-C does: the server with it."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)


@contextlib.contextmanager
def running_server(
    engine: Engine, options: ServerOptions, log: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A server that answers for a version of the model, and serves its metrics; stopped at the end.

    Args:
        log: a file for all that the server says, written anew; None: it speaks where this process does.

    Raises CommandError where there is nothing to serve, a port is taken, or the server ends before it answers.
    """
    if newest_version(options.base_path) is None:
        raise CommandError(f"nothing to serve: {options.base_path} holds no version; `make train export` publishes one")
    if options.grpc_port == options.rest_port:
        raise CommandError(f"GRPC_PORT and REST_PORT are both {options.grpc_port}; give them different ports")
    for port in (options.grpc_port, options.rest_port):
        _require_free(port)
    with _monitoring_file() as monitoring:
        process = _start(engine, engine.command(options, monitoring), log)
        try:
            _wait_until_available(process, options)
            yield process
        finally:
            _stop(process, engine, options)


@contextlib.contextmanager
def _monitoring_file() -> Iterator[Path]:
    """monitoring.config in a folder of its own, removed with it at the end."""
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="vitrine-server-"))
            file = Path(folder) / "monitoring.config"
            file.write_text(monitoring_text(), encoding="utf-8")
            # Whatever the umask says: in a container the server is another user.
            file.chmod(0o644)
        except OSError as error:
            where = error.filename or "a temporary folder"
            raise CommandError(f"cannot write {where}: {error.strerror}; TMPDIR= names another folder") from None
        yield file


def _start(engine: Engine, command: list[str], log: Path | None) -> subprocess.Popen[bytes]:
    with contextlib.ExitStack() as stack:
        output = None if log is None else stack.enter_context(log.open("wb"))
        # Its own session: Ctrl-C reaches us alone, and we end the server in order.
        return subprocess.Popen(
            command,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=_end_with_parent(engine.stop_signal),
        )


def free_ports() -> tuple[int, int]:
    """Two ports that nobody listens on just now."""
    # Both at once, or they might be the same.
    with socket.socket() as one, socket.socket() as other:
        for probe in (one, other):
            probe.bind(("", 0))
        return int(one.getsockname()[1]), int(other.getsockname()[1])


def _end_with_parent(stop_signal: signal.Signals) -> Callable[[], None] | None:
    """What a child does so that it does not outlive a parent that is killed; Linux only."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(_PR_SET_PDEATHSIG, stop_signal)


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError as error:
            raise CommandError(
                f"port {port} cannot be used: {error.strerror}; stop what listens there or choose another port "
                "(GRPC_PORT=, REST_PORT=)"
            ) from None


def _wait_until_available(process: subprocess.Popen[bytes], options: ServerOptions) -> None:
    deadline = time.monotonic() + START_SECONDS
    # Between two questions the process is looked at, so they are not repeated by the client.
    with RestClient(f"localhost:{options.rest_port}", model=options.model, retries=0) as client:
        while True:
            if process.poll() is not None:
                raise CommandError(f"the server ended with exit code {process.returncode} before it answered")
            try:
                client.wait_until_available(timeout=1)
                return
            except DeadlineExceeded as error:
                _require_loading(client)
                if time.monotonic() > deadline:
                    raise CommandError(f"no version is available after {START_SECONDS} seconds: {error}") from None
            except VitrineError as error:
                raise CommandError(f"the server does not serve {options.model}: {error}") from None


def _require_loading(client: RestClient) -> None:
    """Raise CommandError where a version has failed to load."""
    with contextlib.suppress(VitrineError):
        for version in client.status().versions:
            if version.error_code not in ("OK", ""):
                raise CommandError(
                    f"version {version.version} cannot be loaded: {version.error_message}; "
                    "export it again, or remove it to serve the one before"
                )


def _stop(process: subprocess.Popen[bytes], engine: Engine, options: ServerOptions) -> None:
    if process.poll() is not None:
        return
    process.send_signal(engine.stop_signal)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        if engine.remove is not None:
            subprocess.run(engine.remove(options), stdout=subprocess.DEVNULL, check=False)
        process.kill()
        process.wait()
