"""The arguments of `vitrine-serving tune`."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from vitrine_client.errors import InvalidInput
from vitrine_client.load import slo
from vitrine_client.load.durations import seconds_of
from vitrine_serving.argument_types import whole
from vitrine_serving.arguments import local_folder
from vitrine_serving.config.flags import GRPC_THREADS
from vitrine_serving.config.pinning import check_version
from vitrine_serving.embedded.cpus import available_cpus
from vitrine_serving.engines import ENGINES
from vitrine_serving.errors import CommandError
from vitrine_serving.tune.candidates import SWEPT, Grid, Threads, Where
from vitrine_serving.tune.command import TuneSettings, tune

_EXAMPLES = """\
examples:
  vitrine-serving tune --model digits --slo "p99<80ms" --out tuned
  vitrine-serving tune --models /srv/models --model flowers --version 7 --slo "p99<200ms,errors<0.1%" --out tuned
  vitrine-serving tune --model flowers --pictures photos --where in-graph --batch-sizes 1,4,16,64 --out tuned
  vitrine-serving tune --model flowers --threads 1x8,4x2,8x8 --budget 1h --seconds 10 --out tuned --json
  tensorflow_model_server $(vitrine-serving config flags) $(cat tuned/flags.txt)

A candidate's worth is its answers per second at the highest --concurrency that keeps the --slo; without --slo, at the
highest one. Ctrl-C keeps what was measured. Nothing else should be busy on the machine.

exit codes: 0 done, also where the present configuration is best; 1 failed, interrupted, or nothing keeps the --slo;
2 wrong usage
"""
_T = TypeVar("_T")
# What recipes allow.
_MOST_ROWS, _MOST_MICROS, _MOST_BATCH_THREADS = 4096, 1_000_000, 256
_MOST_THREADS = 65536
_Commands = Any  # argparse's own name for it is private


def add_tune(commands_of_tool: _Commands) -> None:
    """Add `tune`."""
    summary = "find the batching and threads that serve a model best on this machine"
    command: argparse.ArgumentParser = commands_of_tool.add_parser(
        "tune", help=summary, description=f"{summary[0].upper()}{summary[1:]}, by starting servers and asking them.",
        epilog=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    command.set_defaults(run=_tune)
    command.add_argument("--models", type=local_folder, default=Path("models"), help="the store (default: %(default)s)")
    command.add_argument("--model", default="digits", metavar="NAME", help="(default: %(default)s)")
    command.add_argument("--version", type=_version, metavar="N", help="(default: the newest complete one)")
    command.add_argument(
        "--engine", choices=ENGINES, default="auto",
        help="auto: tensorflow_model_server if it is on PATH, else the embedded server (default: %(default)s)",
    )  # fmt: skip
    command.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder to write")
    command.add_argument("--json", action="store_true", help="print the result as JSON")
    _add_load(command)
    _add_grid(command)


def _add_load(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("what is asked")
    group.add_argument(
        "--slo", type=_slo, default=("", ()), metavar="OBJECTIVES",
        help='what has to be kept, such as "p99<80ms,errors<0.1%%" (default: no failed request)',
    )  # fmt: skip
    group.add_argument(
        "--pictures", type=Path, metavar="DIR", help="pictures to ask about (default: the version's golden ones)"
    )
    group.add_argument(
        "--concurrency", type=_list(whole(1, GRPC_THREADS)), default=(1, 4, 16), metavar="N,N,...",
        help=f"requests under way at once, {GRPC_THREADS} at most (default: 1,4,16)",
    )  # fmt: skip
    group.add_argument(
        "--seconds", type=whole(1, 3600), default=2, metavar="S",
        help="of each measurement in the first round, twice as many in the next (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--budget", type=_time, default="10m", metavar="TIME",
        help="about how long all may take; of more candidates than that has time for, some are drawn (default: 10m)",
    )  # fmt: skip
    group.add_argument(
        "--repeats", type=whole(1, 100), default=3, metavar="N",
        help="of the final; without a second one any difference counts (default: %(default)s)",
    )  # fmt: skip


def _add_grid(command: argparse.ArgumentParser) -> None:
    cpus = available_cpus()
    group = command.add_argument_group("candidates: all combinations of")
    group.add_argument(
        "--where", type=_list(_where), default=SWEPT, metavar="WHERE,...",
        help="in-graph: as a recipe's export.batching says; server-side: --enable_batching (default: both)",
    )  # fmt: skip
    group.add_argument(
        "--batch-sizes", type=_list(whole(1, _MOST_ROWS)), default=(1, 8, 32), metavar="N,N,...",
        help="most rows of a batch; 1: requests are not merged (default: 1,8,32)",
    )  # fmt: skip
    group.add_argument(
        "--timeouts", type=_list(whole(0, _MOST_MICROS)), default=(0, 2000), metavar="N,N,...",
        help="microseconds that a batch waits for more rows (default: 0,2000)",
    )  # fmt: skip
    group.add_argument(
        "--batch-threads", type=_list(whole(1, _MOST_BATCH_THREADS)), default=(cpus,), metavar="N,N,...",
        help=f"batches at work at once (default: one a CPU, {cpus})",
    )  # fmt: skip
    threads = tuple(dict.fromkeys((Threads(1, cpus), Threads(cpus, cpus))))
    group.add_argument(
        "--threads", type=_list(_threads), default=threads, metavar="AxB,AxB,...",
        help="of one operation x operations at once; 0 leaves it to TensorFlow "
        f"(default: {','.join(f'{pair.intra_op}x{pair.inter_op}' for pair in threads)})",
    )  # fmt: skip


def _tune(arguments: argparse.Namespace) -> None:
    text, objectives = arguments.slo
    grid = Grid(arguments.where, arguments.batch_sizes, arguments.timeouts, arguments.batch_threads, arguments.threads)
    tune(
        TuneSettings(
            models=arguments.models,
            model=arguments.model,
            version=arguments.version,
            engine=arguments.engine,
            slo=text,
            objectives=objectives,
            pictures=arguments.pictures,
            concurrencies=arguments.concurrency,
            grid=grid,
            seconds=arguments.seconds,
            budget=arguments.budget,
            repeats=arguments.repeats,
            out=arguments.out,
            as_json=arguments.json,
        )
    )


def _list(kind: Callable[[str], _T]) -> Callable[[str], tuple[_T, ...]]:
    """Values with commas in between; what is said twice counts once."""

    def parse(text: str) -> tuple[_T, ...]:
        return tuple(dict.fromkeys(kind(part.strip()) for part in text.split(",")))

    return parse


def _version(text: str) -> int | None:
    try:
        return check_version(text)
    except CommandError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _slo(text: str) -> tuple[str, tuple[slo.Objective, ...]]:
    try:
        objectives = tuple(slo.parse(text))
    except InvalidInput as error:
        raise argparse.ArgumentTypeError(str(error).removeprefix("--slo: ")) from None
    for objective in objectives:
        if objective.transport == "rest":
            raise argparse.ArgumentTypeError(
                f"{objective.text!r} is about REST, and candidates are asked by gRPC alone"
            )
    return ",".join(objective.text for objective in objectives), objectives


def _time(text: str) -> float:
    try:
        return seconds_of(text, "--budget")
    except InvalidInput as error:
        raise argparse.ArgumentTypeError(str(error).removeprefix("--budget: ")) from None


def _where(text: str) -> Where:
    for where in SWEPT:
        if text == where:
            return where
    raise argparse.ArgumentTypeError(f"{text!r} is neither of {' and '.join(SWEPT)}")


def _threads(text: str) -> Threads:
    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text, re.ASCII)
    if not found:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no pair such as 1x8: threads of one operation, operations at once"
        )
    intra_op, inter_op = map(whole(0, _MOST_THREADS), found.groups())
    return Threads(intra_op, inter_op)
