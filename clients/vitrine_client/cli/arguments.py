"""The command line: commands, options, and what `--help` says of them."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from typing import get_args

from vitrine_client.blocking import Client
from vitrine_client.cli import bench, model_info, predict
from vitrine_client.cli.connection import DEFAULT_MODEL, DEFAULT_TARGET
from vitrine_client.cli.console import Console
from vitrine_client.cli.picture_paths import SUFFIXES
from vitrine_client.images import Check
from vitrine_client.images.urls import is_url, without_credentials
from vitrine_client.settings import LONGEST_TIMEOUT, MOST_RETRIES

_Run = Callable[[Client, argparse.Namespace, Console], int]
_Commands = argparse._SubParsersAction

_PATHS = "PATH... "

_EXAMPLES = {
    "vitrine-client": """examples:
  vitrine-client predict photos --model flowers
  vitrine-client status --all
  vitrine-client wait --model flowers --for 120 && vitrine-client bench rose.jpg --model flowers
  vitrine-client load capacity --slo "p99<80ms,errors<0.1%"

exit codes:
  0 done, 1 failed, 2 wrong usage, 130 interrupted

environment, where no option says otherwise:
  VITRINE_GRPC, VITRINE_REST   the address, as --grpc and --rest take it
  VITRINE_MODEL                the model's name
  VITRINE_TOKEN                a bearer token
  NO_COLOR                     no colours""",
    "predict": """examples:
  vitrine-client predict rose.jpg tulip.jpg --model flowers --top 3
  vitrine-client predict photos --model flowers --csv > predictions.csv
  vitrine-client predict 'photos/**/*.jpg' --json --grpc node1:8500,node2:8500 | jq .
  vitrine-client predict scans --max-side 512 --in-flight 16 --rest https://models.example.org --tls-ca ca.pem""",
    "status": """examples:
  vitrine-client status --model flowers
  vitrine-client status --all
  vitrine-client status --model flowers --version 3 --json""",
    "metadata": """examples:
  vitrine-client metadata --model flowers
  vitrine-client metadata --model flowers --label stable --rest http://localhost:8501 --json""",
    "wait": """examples:
  vitrine-client wait --model flowers
  vitrine-client wait --model flowers --version 3 --for 300 && echo version 3 answers""",
    "bench": """examples:
  vitrine-client bench rose.jpg --model flowers
  vitrine-client bench photos --concurrency 32 --seconds 30 --warm-up 5
  vitrine-client bench rose.jpg --model flowers --retries 0 --json""",
}


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options; `run` carries them out, `error` ends the process with code 2. Wrong usage does that here."""
    options = _parser().parse_args(arguments)
    if getattr(options, "all", False) and (options.version is not None or options.label is not None):
        options.error("--all is for all models: leave --version and --label out")
    for path in getattr(options, "paths", ()):
        if is_url(path) and not options.allow_urls:
            options.error(f"{without_credentials(path)}: URLs are fetched with --allow-urls only")
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vitrine-client",
        description="Asks an image classifier on TensorFlow Serving.",
        epilog=_EXAMPLES["vitrine-client"],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_predict(commands)
    status = _command(
        commands, "status", model_info.status, "Shows a model's versions, and whether they answer requests."
    )
    status.add_argument("--all", action="store_true", help="all models that the server has, not just one")
    _finish(status)
    metadata = _command(
        commands, "metadata", model_info.metadata, "Shows a model's signatures: what goes in and comes out."
    )
    _finish(metadata)
    wait = _command(commands, "wait", model_info.wait, "Waits until a model answers requests, and prints its version.")
    wait.add_argument(
        "--for", type=_seconds, default=60.0, metavar="S", dest="seconds", help="seconds at most (default: 60)"
    )
    _finish(wait)
    _add_bench(commands)
    # To be listed: whatever follows it is read by another program.
    commands.add_parser(
        "load", help="Makes load with locust, for as long as you say; load capacity finds how much a server can take."
    )
    return parser


def _add_predict(commands: _Commands[argparse.ArgumentParser]) -> None:
    parser = _command(
        commands, "predict", predict.predict, "Classifies pictures, and prints the answers as they come.", _PATHS
    )
    _add_paths(parser)
    parser.add_argument(
        "--top",
        type=_whole_number(1),
        metavar="N",
        help="the N best labels of each picture (default: the best one; with --json all that the model gives)",
    )
    parser.add_argument(
        "--batch-size", type=_whole_number(1), default=1, metavar="N", help="pictures in one request (default: 1)"
    )
    parser.add_argument(
        "--in-flight", type=_whole_number(1), default=8, metavar="N", help="requests under way at once (default: 8)"
    )
    parser.add_argument(
        "--max-side", type=_whole_number(1), metavar="PIXELS", help="send larger pictures scaled down to this"
    )
    parser.add_argument(
        "--check",
        choices=get_args(Check),
        default="auto",
        help="how pictures are checked before they are sent: by their structure (quick), by decoding them (full), not "
        "at all (off); auto is quick, and full where several share a request (default: auto)",
    )
    parser.add_argument("--no-progress", action="store_true", help="no progress bar")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress bar and no summary")
    formats = parser.add_mutually_exclusive_group()
    formats.add_argument(
        "--csv",
        action="store_true",
        help="print CSV: picture, label, score (label2, score2 and so on with --top), error",
    )
    _finish(parser, formats)


def _add_bench(commands: _Commands[argparse.ArgumentParser]) -> None:
    parser = _command(
        commands,
        "bench",
        bench.bench,
        "Measures for a moment how fast a server answers, one picture in each request.",
        _PATHS,
    )
    _add_paths(parser)
    parser.add_argument(
        "--concurrency", type=_whole_number(1), default=8, metavar="N", help="requests under way at once (default: 8)"
    )
    parser.add_argument("--seconds", type=_seconds, default=10.0, metavar="S", help="how long (default: 10)")
    parser.add_argument(
        "--warm-up", type=_seconds_or_none, default=1.0, metavar="S", help="seconds not measured before (default: 1)"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="the figures alone")
    _finish(parser)


def _command(
    commands: _Commands[argparse.ArgumentParser], name: str, run: _Run, description: str, takes: str = ""
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        usage=f"vitrine-client {name} {takes}[options]",
        help=description,
        description=description,
        epilog=_EXAMPLES[name],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run, error=parser.error)
    return parser


def _add_paths(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="PATH",
        help=f"a picture, a folder for all in it and below ({' '.join(SUFFIXES)}), or a quoted pattern: '**/*.png'",
    )
    parser.add_argument("--allow-urls", action="store_true", help="fetch PATHs that begin with http:// or https://")


def _finish(parser: argparse.ArgumentParser, formats: argparse._ActionsContainer | None = None) -> None:
    """Adds what all commands take, after what is the command's own."""
    (formats or parser).add_argument("--json", action="store_true", help="print JSON, for programs")
    parser.add_argument(
        "--color",
        choices=("auto", "always", "never"),
        default="auto",
        help="colours (default: auto, on terminals only)",
    )
    group = parser.add_argument_group("server and model")
    address = group.add_mutually_exclusive_group()
    address.add_argument(
        "--grpc",
        action="append",
        metavar="HOST:PORT",
        help=f"the gRPC port (default: {DEFAULT_TARGET}); several, with commas or repeated, take turns",
    )
    address.add_argument(
        "--rest", action="append", metavar="URL", help="ask over REST instead, at http://HOST:PORT; several as above"
    )
    group.add_argument("--model", metavar="NAME", help=f"the model's name (default: {DEFAULT_MODEL})")
    version = group.add_mutually_exclusive_group()
    version.add_argument(
        "--version", type=_whole_number(0), metavar="N", help="the model's version (default: the highest loaded)"
    )
    version.add_argument("--label", metavar="NAME", help="the version with this label")
    group.add_argument(
        "--timeout", type=_seconds, default=30.0, metavar="S", help="seconds for each request (default: 30)"
    )
    group.add_argument(
        "--retries",
        type=_whole_number(0, MOST_RETRIES),
        default=MOST_RETRIES,
        metavar="N",
        help=f"how often a request that the server could not take is made again (default: {MOST_RETRIES}, the most)",
    )
    group.add_argument(
        "--header", type=_header, action="append", default=[], metavar="NAME:VALUE",
        help="sent along with each request, may be repeated; others on this machine can see it",
    )  # fmt: skip
    group.add_argument(
        "--token-file", metavar="FILE", help="a file with a bearer token (default: the one in VITRINE_TOKEN, if any)"
    )
    group.add_argument("--tls", action="store_true", help="TLS for gRPC, with certificates that are publicly known")
    group.add_argument("--tls-ca", metavar="FILE", help="TLS, with certificates that those in this PEM file vouch for")
    group.add_argument("--tls-cert", metavar="FILE", help="the client's own certificate, PEM")
    group.add_argument("--tls-key", metavar="FILE", help="the key of the client's own certificate, PEM")
    group.add_argument("--tls-server-name", metavar="NAME", help="the name in the server's certificate, if another")


def _whole_number(least: int, most: int | None = None) -> Callable[[str], int]:
    told = f"a whole number from {least}" + ("" if most is None else f" to {most}")

    def parse(text: str) -> int:
        small = text.isascii() and text.isdigit() and len(text) < 19
        if not small or int(text) < least or (most is not None and int(text) > most):
            raise argparse.ArgumentTypeError(f"{text!r} is not {told}")
        return int(text)

    return parse


def _seconds(text: str) -> float:
    seconds = _seconds_or_none(text)
    if not seconds:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")
    return seconds


def _seconds_or_none(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= LONGEST_TIMEOUT:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds from 0 to a year")
    return seconds


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME:VALUE")
    return name.strip(), value.strip()
