"""The arguments of `vitrine-serving config`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vitrine_serving.argument_types import whole
from vitrine_serving.arguments import local_folder
from vitrine_serving.config import commands
from vitrine_serving.config.batching import MOST_BATCH_THREADS, BatchingSettings
from vitrine_serving.config.flags import CONFIG_DIR, GRPC_PORT, GRPC_THREADS, REST_PORT
from vitrine_serving.config.folder import PROBE_ADDRESS
from vitrine_serving.config.pinning import check_name, check_version
from vitrine_serving.errors import CommandError

_EXAMPLES = """\
examples:
  vitrine-serving config write --models models --model digits --out config
  vitrine-serving config write --models /models --model digits=3,flowers --out /etc/vitrine --json
  vitrine-serving config check config/models.config config/batching.config
  vitrine-serving config flags --cpus 4
  tensorflow_model_server $(vitrine-serving config flags --gpu --batching --config-dir /etc/vitrine)

exit codes: 0 done, 1 failed, 2 wrong usage
"""
_BATCHING = BatchingSettings()
_Commands = Any  # argparse's own name for it is private


def add_config(commands_of_tool: _Commands, check_writable: commands.CheckWritable) -> None:
    """Add `config` with its three commands; `check_writable` is asked before `write` changes anything."""
    summary = "write, check and use TensorFlow Serving's configuration files"
    config = _command(commands_of_tool, "config", summary)
    actions = config.add_subparsers(dest="action", required=True, metavar="ACTION")
    _add_write(actions, check_writable)
    _add_check(actions)
    _add_flags(actions)


def _add_write(actions: _Commands, check_writable: commands.CheckWritable) -> None:
    write = _command(actions, "write", "pin models to versions and write the server's configuration folder")
    write.set_defaults(run=lambda arguments: _write(write, arguments, check_writable))
    write.add_argument(
        "--models", type=local_folder, required=True, metavar="DIR", help="the model store, as seen here"
    )
    write.add_argument(
        "--model", type=_models, action="append", required=True, metavar="NAME[=VERSION][,...]",
        help="a model, at VERSION or at its newest complete one; more of them by commas, or by --model again",
    )  # fmt: skip
    write.add_argument("--version", type=_version, help="the version of a single model; empty: the newest")
    write.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder to write")
    write.add_argument(
        "--base-path", type=_base_path, default="/models",
        help="the model store, as the server sees it (default: %(default)s)",
    )  # fmt: skip
    write.add_argument(
        "--probe-address", default=PROBE_ADDRESS, metavar="HOST:PORT",
        help="the server's REST API, as the monitoring sees it (default: %(default)s)",
    )  # fmt: skip
    write.add_argument("--label", type=_label, default="stable", help="of the pinned version (default: %(default)s)")
    write.add_argument("--json", action="store_true", help="print the result as JSON")
    _add_batching(write)


def _add_batching(write: argparse.ArgumentParser) -> None:
    group = write.add_argument_group("batching", "for a server that is started with --enable_batching")
    group.add_argument(
        "--max-batch-size", type=whole(1), metavar="N",
        help="rows of a batch, and of a request (default: the largest allowed batch size, or 128)",
    )  # fmt: skip
    group.add_argument(
        "--batch-timeout-micros", type=whole(0), default=_BATCHING.batch_timeout_micros, metavar="N",
        help="microseconds that a batch waits for more rows (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--num-batch-threads", type=whole(1, MOST_BATCH_THREADS), metavar="N",
        help="batches in work at once (default: one a CPU of the server)",
    )  # fmt: skip
    group.add_argument(
        "--allowed-batch-sizes", type=_sizes, default=(), metavar="N,N,...",
        help="pad batches to the next of these sizes; the last is --max-batch-size (default: as they come)",
    )  # fmt: skip
    group.add_argument(
        "--max-enqueued-batches", type=whole(1), default=_BATCHING.max_enqueued_batches, metavar="N",
        help="batches that wait before requests are refused (default: %(default)s)",
    )  # fmt: skip


def _add_check(actions: _Commands) -> None:
    check = _command(actions, "check", "tell what each file is and whether TensorFlow Serving would take it")
    check.set_defaults(run=commands.check)
    check.add_argument("files", nargs="+", type=Path, metavar="FILE")
    check.add_argument("--json", action="store_true", help="print the findings as JSON")


def _add_flags(actions: _Commands) -> None:
    flags = _command(actions, "flags", "print TensorFlow Serving's command line for a written folder, one flag a line")
    flags.set_defaults(run=commands.flags)
    device = flags.add_mutually_exclusive_group()
    device.add_argument("--cpus", type=whole(1, 65536), metavar="N", help="of the server (default: those usable here)")
    device.add_argument("--gpu", action="store_true", help="leave the threads to TensorFlow")
    flags.add_argument(
        "--grpc-threads", type=whole(1, 65536), default=GRPC_THREADS, metavar="N",
        help="gRPC requests handled at once, more are refused (default: %(default)s)",
    )  # fmt: skip
    flags.add_argument("--batching", action="store_true", help="merge requests as batching.config says")
    flags.add_argument("--config-dir", default=CONFIG_DIR, metavar="DIR", help="(default: %(default)s)")
    flags.add_argument("--grpc-port", type=whole(1, 65535), default=GRPC_PORT, help="(default: %(default)s)")
    flags.add_argument("--rest-port", type=whole(1, 65535), default=REST_PORT, help="(default: %(default)s)")
    flags.add_argument("--json", action="store_true", help="print the flags as a JSON list")


def _command(parent: _Commands, name: str, summary: str) -> argparse.ArgumentParser:
    added: argparse.ArgumentParser = parent.add_parser(
        name, help=summary, description=summary, epilog=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    return added


def _write(
    parser: argparse.ArgumentParser, arguments: argparse.Namespace, check_writable: commands.CheckWritable
) -> None:
    """What one argument alone does not show is wrong usage too."""
    pairs = [pair for group in arguments.model for pair in group]
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            parser.error(f"model {name} is named more than once; name each model once, with one version")
    if arguments.version is not None and (len(pairs) > 1 or pairs[0][1] is not None):
        parser.error("--version is for one model without a version of its own; give NAME=VERSION instead")
    commands.write(arguments, check_writable)


def _models(text: str) -> list[tuple[str, int | None]]:
    pairs = [entry.strip().partition("=") for entry in text.split(",")]
    return [(_named(check_name, name), _version(version)) for name, _, version in pairs]


def _version(text: str) -> int | None:
    return _named(check_version, text)


def _label(text: str) -> str:
    return _named(lambda label: check_name(label, "label"), text)


def _named(check: Callable[[str], Any], text: str) -> Any:
    """A check's value; its complaint as argparse tells it."""
    try:
        return check(text)
    except CommandError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _base_path(text: str) -> str:
    if not (text.startswith("/") or "://" in text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is relative: give the absolute path, or the address, that the server knows the store by"
        )
    return text


def _sizes(text: str) -> tuple[int, ...]:
    """Empty for an empty text."""
    return tuple(whole(1)(part.strip()) for part in text.split(",")) if text else ()
