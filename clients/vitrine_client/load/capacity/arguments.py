"""The options of `vitrine-client load capacity`."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vitrine_client.errors import InvalidInput
from vitrine_client.load import slo
from vitrine_client.load.arguments import SERVER
from vitrine_client.load.arrivals import ARRIVALS
from vitrine_client.load.capacity.search import HIGHEST_RATE, Plan
from vitrine_client.load.profile import Profile
from vitrine_client.load.settings import Settings

PROGRAM = "vitrine-client load capacity"

_DESCRIPTION = """Finds the highest rate of requests at which a server keeps an objective: short trials in an open loop,
at rates that are doubled or halved and then put between what was kept and what was missed. In the end the rate that is
kept and the one that is missed are tried again."""

_EPILOG = f"""examples:
  {PROGRAM} --slo "p99<80ms,errors<0.1%"
  {PROGRAM} --slo "p99<80ms,errors<0.1%" --start 50 --seconds 60 --repeats 5 --out capacity
  {PROGRAM} --slo "grpc.p99<50ms" --transport grpc --model flowers --pictures photos --json

what is said of a rate:
  kept     each of its trials kept every objective; --repeats trials at least, for the rate that is told
  missed   at least half of its trials missed one; --repeats trials, for the lowest such rate
  between the two rates nothing is known, and a rate that kept it in most trials, not in all, is told as that
The bounds on the probability are those of Clopper and Pearson, one-sided, with 95 % confidence. They take trials for
independent, and each rate by itself: that it was chosen among others is not accounted for.

A trial that the load generator itself was late in, by enough to be why it was missed, says nothing about the server,
and is made again. A rate at which that is so once more is the generator's limit: the search goes on below it, and tells
"at least" the rate that was kept, within --precision of that limit: give it more --workers, or a machine of its own.

exit codes:
  0 a rate was found that keeps the objective, with "at least" as well; 1 none was, or the server does not answer;
  2 wrong usage, or no pictures; 130 interrupted: what is known by then is told and written"""

_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
# A rate at which a trial has fewer requests than this cannot tell anything.
_FEWEST_REQUESTS = 10


@dataclass(frozen=True)
class Options:
    """What is to be found.

    Attributes:
        profile: of each trial, whose rate stands for any; its objectives are what is to be kept.
        slo, warm_up: as they were written, for the trials.
        seconds: of a trial, warm-up included.
        out: the folder for the result; None without.
    """

    settings: Settings
    profile: Profile
    plan: Plan
    slo: str
    warm_up: str
    seconds: int
    workers: int
    out: Path | None
    json: bool


def parse(arguments: Sequence[str]) -> Options:
    """Wrong usage ends the process with code 2, as argparse does it."""
    parser = _parser()
    given = parser.parse_args([*_from_environment(), *arguments])
    try:
        return _options(given)
    except InvalidInput as error:
        parser.error(str(error))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        usage=f"{PROGRAM} --slo OBJECTIVES [options]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--slo",
        required=True,
        metavar="OBJECTIVES",
        help="what is to be kept, such as p99<80ms,errors<0.1%%: mean, p50, p90, p99, p99.9, max, errors, each also of "
        "one transport: grpc.p99<50ms",
    )
    search = parser.add_argument_group("search")
    search.add_argument("--start", type=_rate, default=10.0, metavar="RATE", help="requests/s to begin with (10)")
    search.add_argument("--most", type=_rate, default=HIGHEST_RATE, metavar="RATE", help="requests/s, no rate above it")
    search.add_argument(
        "--precision", type=_precision, default=0.05, metavar="P%", help="how close both rates are (5%%)"
    )
    search.add_argument("--repeats", type=_whole, default=3, metavar="N", help="trials of both rates in the end (3)")
    trial = parser.add_argument_group("trials")
    trial.add_argument("--arrivals", choices=ARRIVALS[1:], default="poisson", help="how requests arrive (poisson)")
    trial.add_argument("--seconds", type=_whole, default=20, metavar="S", help="how long each takes (20)")
    trial.add_argument("--warm-up", default="", metavar="TIME", help="of each, not counted (a tenth, at most 10 s)")
    trial.add_argument("--workers", type=_whole, default=1, metavar="N", help="processes that make load (1)")
    results = parser.add_argument_group("results")
    results.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="for capacity.json, capacity.csv, capacity.html, and each trial's own report in trials/",
    )
    results.add_argument("--json", action="store_true", help="print JSON, for programs")
    _add_server(parser)
    return parser


def _add_server(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("server, model and pictures (VARIABLE: sets it in the environment)")
    for option in SERVER:
        group.add_argument(f"--{option.name}", help=option.help, **option.given)


def _from_environment() -> list[str]:
    """As arguments before those that are given, which are checked like them."""
    set_there = ((option.name, os.environ.get(option.variable)) for option in SERVER)
    return [f"--{name}={value}" for name, value in set_there if value]


def _options(given: argparse.Namespace) -> Options:
    settings = Settings.of(given)
    start, most = given.start, given.most
    if start > most:
        raise InvalidInput(f"--start: {start:g} is above --most {most:g}")
    told = argparse.Namespace(
        **{**vars(given), "rate": f"{start:f}", "stages": "", "run_time": given.seconds, "out": ""}
    )
    profile = Profile.of(told)
    for objective in profile.objectives:
        _check(objective, settings)
    # What is wrong with them is wrong with all trials.
    settings.samples()
    if given.out is not None:
        _make(given.out)
    least = min(start, _FEWEST_REQUESTS / (given.seconds - profile.warm_up))
    plan = Plan(start, least, most, given.precision, given.repeats)
    return Options(
        settings=settings,
        profile=profile,
        plan=plan,
        slo=",".join(objective.text for objective in profile.objectives),
        warm_up=given.warm_up,
        seconds=given.seconds,
        workers=given.workers,
        out=given.out,
        json=given.json,
    )


def _check(objective: slo.Objective, settings: Settings) -> None:
    text = objective.text
    if objective.metric == "rps":
        raise InvalidInput(
            f"--slo: {text!r}: the rate is what is looked for: give a latency or errors, such as p99<80ms"
        )
    if objective.comparison.startswith(">"):
        raise InvalidInput(f"--slo: {text!r} is kept by a slow server too: give an upper limit, such as p99<80ms")
    if objective.transport is not None and not settings.asks_over(objective.transport):
        raise InvalidInput(f"--slo: {text!r} is about a transport that --transport {settings.transport} leaves out")


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(f"--out: cannot make the folder {str(folder)!r}: {error.strerror}") from error


def _rate(text: str) -> float:
    if not _NUMBER.fullmatch(text) or not 0 < float(text) <= HIGHEST_RATE:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number of requests per second above 0, {HIGHEST_RATE:,.0f} at most"
        )
    return float(text)


def _precision(text: str) -> float:
    found = _PERCENT.fullmatch(text)
    if not found or not 1 <= float(found[1]) <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is not a ratio from 1% to 100%")
    return float(found[1]) / 100


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 7 and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)
