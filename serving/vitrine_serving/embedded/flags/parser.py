"""From the command line to checked values."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from importlib import metadata
from typing import Any, NoReturn

from vitrine_serving.embedded.flags.groups import GROUPS, Flags, kinds_of
from vitrine_serving.embedded.flags.kinds import Kind, Switch
from vitrine_serving.embedded.flags.usage import PROGRAM, usage


class _UsageError(Exception):
    """What is wrong with the command line, in one line."""


def parse(arguments: Sequence[str] | None = None) -> Flags:
    """Parse the command line, by default the process's own.

    Flags are `--name=value`, or `--name` alone for true; beyond TensorFlow Serving's own parser, `--name value`
    does for all but switches. Of a flag given twice, the last counts. A wrong command line ends the
    process with one line on stderr and code 2; `--help` and `--version` print on stdout and end it with 0.
    """
    known = {field.name for field in fields(Flags)}
    try:
        given = _read(sys.argv[1:] if arguments is None else arguments)
        if given.pop("version", False):
            _finish(_version())
        flags = Flags(
            **{name: value for name, value in given.items() if name in known},
            ineffective=tuple(name for name in given if name not in known),
        )
        _check_together(flags)
    except _UsageError as error:
        sys.stderr.write(f"{PROGRAM}: error: {error} (--help lists the flags)\n")
        raise SystemExit(2) from None
    return _with_session_parallelism(flags)


def _read(arguments: Sequence[str]) -> dict[str, Any]:
    """The values given, by name, each checked by itself."""
    kinds: dict[str, Kind] = {"version": Switch("")}
    for group in GROUPS.values():
        kinds |= kinds_of(group)
    given: dict[str, Any] = {}
    rest = list(reversed(arguments))
    while rest:
        argument = rest.pop()
        if argument in ("--help", "-h"):
            _finish(usage())
        name, equals, text = argument[2:].partition("=")
        kind = kinds.get(name) if argument.startswith("--") else None
        if kind is None:
            raise _UsageError(f"unknown argument: {argument!r}{_suggestion(argument, kinds)}")
        if not equals:
            if isinstance(kind, Switch):
                text = "true"
            elif not rest or rest[-1].startswith("--"):
                raise _UsageError(f"--{name} needs a value: --{name}={kind.placeholder}")
            else:
                text = rest.pop()
        try:
            given[name] = kind.convert(text)
        except ValueError as error:
            raise _UsageError(f"--{name}: {error}") from None
    return given


def _suggestion(argument: str, kinds: dict[str, Kind]) -> str:
    if not argument.startswith("-"):
        return ""
    name = argument.lstrip("-").partition("=")[0].replace("-", "_")
    if name.startswith("no") and isinstance(kinds.get(name[2:]), Switch):
        return f"; did you mean --{name[2:]}=false?"
    longer = [flag for flag in kinds if name and flag.startswith(name)]
    close = longer or difflib.get_close_matches(name, kinds, n=1)
    return f"; did you mean --{close[0]}?" if close else ""


def _check_together(flags: Flags) -> None:
    """Refuse flags that do not go together."""
    if not flags.model_base_path and not flags.model_config_file:
        raise _UsageError("both --model_base_path and --model_config_file are empty; one of them must not be empty")
    if flags.batching_parameters_file and not flags.enable_batching:
        raise _UsageError("--batching_parameters_file is set without setting --enable_batching to true")
    if not flags.port and not flags.grpc_socket_path:
        raise _UsageError("at least one of --port and --grpc_socket_path must be set")
    if flags.port and flags.port == flags.rest_api_port:
        raise _UsageError(f"--port and --rest_api_port are both {flags.port}; give them different ports")
    if flags.tensorflow_session_parallelism and (
        flags.tensorflow_intra_op_parallelism and flags.tensorflow_inter_op_parallelism
    ):
        raise _UsageError(
            "either configure --tensorflow_session_parallelism or (--tensorflow_intra_op_parallelism, "
            "--tensorflow_inter_op_parallelism) separately; you cannot configure all"
        )


def _with_session_parallelism(flags: Flags) -> Flags:
    session = flags.tensorflow_session_parallelism
    if session is None or flags.tensorflow_intra_op_parallelism or flags.tensorflow_inter_op_parallelism:
        return flags
    return replace(flags, tensorflow_intra_op_parallelism=session, tensorflow_inter_op_parallelism=session)


def _version() -> str:
    """TensorFlow Serving's two lines, with this program as what semantic versioning calls build metadata."""
    ours, api = map(metadata.version, ("vitrine-serving", "tensorflow-serving-api"))
    try:
        library = metadata.version("tensorflow")
    except metadata.PackageNotFoundError:
        # The same without CUDA, under another name.
        library = metadata.version("tensorflow-cpu")
    return f"TensorFlow ModelServer: {api}+{PROGRAM}.{ours}\nTensorFlow Library: {library}\n"


def _finish(text: str) -> NoReturn:
    sys.stdout.write(text)
    raise SystemExit(0)
