"""The server's flags: TensorFlow Serving's own names, and a few of ours."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn

_EXAMPLES = """examples:
  vitrine-model-server --model_name=flowers --model_base_path=models/flowers
  vitrine-model-server --port=8500 --rest_api_port=8501 --model_name=flowers --model_base_path=models/flowers

The base path holds one directory for each version, named by its number (models/flowers/1). The highest
is served; a higher one put beside it takes over without a failed request. SIGTERM finishes what is in
flight and exits with code 0.

exit codes: 0 stopped by a signal, 1 could not start, 2 wrong usage
"""


@dataclass(frozen=True)
class Flags:
    """Checked flag values; see `parse` for their meaning."""

    port: int
    rest_api_port: int
    model_name: str
    model_base_path: str
    file_system_poll_wait_seconds: int
    tensorflow_intra_op_parallelism: int | None
    tensorflow_inter_op_parallelism: int | None
    grpc_max_threads: int
    rest_api_num_threads: int
    max_num_load_retries: int
    load_retry_interval_micros: int
    drain_seconds: float


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (--help lists the flags)\n")


def parse(arguments: Sequence[str] | None = None) -> Flags:
    """Parse the command line; a wrong one ends the process with one line on stderr and code 2."""
    parser = _Parser(
        prog="vitrine-model-server",
        description="Serves a SavedModel with TensorFlow Serving's gRPC and REST APIs.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--port", type=_whole(1, 65535), default=8500, help="port of the gRPC API (default %(default)s)")
    add("--rest_api_port", type=_whole(0, 65535), default=0, help="port of the REST API; 0 (default): none")
    add("--model_name", type=_text, default="default", help="name clients ask for (default %(default)s)")
    add("--model_base_path", type=_text, required=True, help="directory of the model's versions")
    add(
        "--file_system_poll_wait_seconds",
        type=_whole(-1),
        default=1,
        help="seconds between looks for a new version (default %(default)s); 0 looks once, -1 never",
    )
    add(
        "--tensorflow_intra_op_parallelism",
        type=_whole(0),
        help="threads of one operation; 0: TensorFlow chooses (default: 1 on a CPU, 0 on a GPU)",
    )
    add(
        "--tensorflow_inter_op_parallelism",
        type=_whole(0),
        help="operations run at once; 0: TensorFlow chooses (default: one a core on a CPU, 0 on a GPU)",
    )
    # In-graph batches are made of concurrent requests: few threads would mean small batches.
    threads = max(16, 4 * available_cpus())
    add("--grpc_max_threads", type=_whole(1), default=threads, help="gRPC requests handled at once (%(default)s)")
    add(
        "--rest_api_num_threads",
        type=_whole(1),
        default=threads,
        help="REST requests handled at once (default %(default)s)",
    )
    add(
        "--max_num_load_retries",
        type=_whole(0),
        default=5,
        help="how often a version that failed to load is tried again (default %(default)s)",
    )
    add(
        "--load_retry_interval_micros",
        type=_whole(0),
        default=60_000_000,
        help="microseconds between those tries (default %(default)s)",
    )
    add(
        "--drain_seconds",
        type=_seconds,
        default=30.0,
        help="after SIGTERM, seconds for requests in flight to finish (default %(default)g)",
    )
    flags = Flags(**vars(parser.parse_args(arguments)))
    if flags.port == flags.rest_api_port:
        parser.error(f"--port and --rest_api_port are both {flags.port}; give them different ports")
    return flags


def available_cpus() -> int:
    """CPUs this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _whole(lowest: int, highest: int | None = None) -> Callable[[str], int]:
    def convert(text: str) -> int:
        allowed = f"from {lowest}" + (f" to {highest}" if highest is not None else "")
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number {allowed}") from None
        if value < lowest or (highest is not None and value > highest):
            raise argparse.ArgumentTypeError(f"{value} is not a whole number {allowed}")
        return value

    return convert


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds") from None
    if not 0 <= value < 1e6:
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds from 0 to a million")
    return value


def _text(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("must not be empty")
    return text
