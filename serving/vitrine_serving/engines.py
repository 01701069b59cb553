"""What answers the requests: TensorFlow Serving's binary, its docker image, or the embedded server.

An engine only knows how to be started; all three take the same flags and speak the same API.
"""

from __future__ import annotations

import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vitrine_serving.config.flags import CONFIG_DIR, cpu_flags, load_flags, port_flags
from vitrine_serving.errors import CommandError

BINARY = "tensorflow_model_server"
IMAGE = "tensorflow/serving:2.20.0"
EMBEDDED = "embedded"
ENGINES = ("auto", "binary", "docker", EMBEDDED)


@dataclass(frozen=True)
class ServerOptions:
    """One model from a model store on a local disk, and where it is asked for."""

    model: str
    base_path: Path
    """The model's folder in the store, MODELS/NAME."""
    grpc_port: int
    rest_port: int

    def flags(self, base_path: str, grpc_port: int, rest_port: int, monitoring_file: str) -> list[str]:
        """TensorFlow Serving's flags; the paths and ports as the server sees them."""
        return [
            *port_flags(grpc_port, rest_port),
            f"--model_name={self.model}",
            f"--model_base_path={base_path}",
            f"--monitoring_config_file={monitoring_file}",
            *cpu_flags(),
            *load_flags(),
        ]


@dataclass(frozen=True)
class Engine:
    """A way to start a server. `why` says in a few words how it came to be chosen."""

    name: str
    why: str
    command: Callable[[ServerOptions, Path], list[str]]
    """What starts it, given the file of `--monitoring_config_file` as it is called here."""
    stop_signal: signal.Signals
    """What ends it. TensorFlow Serving ignores SIGTERM, so there it is SIGINT."""
    remove: Callable[[ServerOptions], list[str]] | None = None
    """The command that ends it for certain, where killing the child process is not enough."""


def choose(engine: str) -> Engine:
    """The engine called `engine`, one of ENGINES; `auto` takes the binary where it is on PATH, else embedded.

    Raises CommandError where the engine is not on this machine.
    """
    if engine == "auto":
        if shutil.which(BINARY):
            return _binary(f"{BINARY} is on PATH")
        return _embedded(f"{BINARY} is not on PATH")
    if engine == "binary":
        if not shutil.which(BINARY):
            raise CommandError(f"engine binary: {BINARY} is not on PATH; install it, or use ENGINE=embedded")
        return _binary("asked for")
    if engine == "docker":
        if not shutil.which("docker"):
            raise CommandError("engine docker: no docker on PATH; install it, or use ENGINE=embedded")
        return Engine("docker", "asked for", _docker_command, signal.SIGINT, _docker_remove)
    if engine == EMBEDDED:
        return _embedded("asked for")
    raise CommandError(f"engine {engine!r} is unknown; accepted: {', '.join(ENGINES)}")


def _binary(why: str) -> Engine:
    def command(options: ServerOptions, monitoring: Path) -> list[str]:
        return [BINARY, *_local_flags(options, monitoring)]

    return Engine("binary", why, command, signal.SIGINT)


def _embedded(why: str) -> Engine:
    def command(options: ServerOptions, monitoring: Path) -> list[str]:
        return [sys.executable, "-m", "vitrine_serving.embedded.main", *_local_flags(options, monitoring)]

    return Engine(EMBEDDED, why, command, signal.SIGTERM)


def _local_flags(options: ServerOptions, monitoring: Path) -> list[str]:
    return options.flags(str(options.base_path), options.grpc_port, options.rest_port, str(monitoring))


def _container(options: ServerOptions) -> str:
    return f"vitrine-{options.model}-{options.grpc_port}"


def _docker_remove(options: ServerOptions) -> list[str]:
    return ["docker", "rm", "--force", _container(options)]


def _docker_command(options: ServerOptions, monitoring: Path) -> list[str]:
    inside = f"/models/{options.model}"
    monitoring_inside = f"{CONFIG_DIR}/{monitoring.name}"
    return [
        *("docker", "run", "--rm", "--init", "--name", _container(options)),
        *(
            "--publish",
            f"127.0.0.1:{options.grpc_port}:8500",
            "--publish",
            f"127.0.0.1:{options.rest_port}:8501",
        ),
        *("--mount", f"type=bind,source={options.base_path.resolve()},target={inside},readonly"),
        # The file alone: whoever the server runs as in there, its folder here may be closed to them.
        *("--mount", f"type=bind,source={monitoring.resolve()},target={monitoring_inside},readonly"),
        *("--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
        # Not the image's own entry point: that is a shell script, which would keep the signals to itself.
        *("--entrypoint", BINARY, IMAGE),
        *options.flags(inside, 8500, 8501, monitoring_inside),
    ]
