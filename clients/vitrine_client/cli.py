"""The command `vitrine-client`: ask a server from a shell.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted. Results go to stdout, everything else to stderr.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict

from vitrine_client.base import Client
from vitrine_client.errors import InvalidInput, ModelNotFound, Unavailable, VitrineError
from vitrine_client.grpc import GrpcClient
from vitrine_client.rest import RestClient
from vitrine_client.results import Prediction, TensorInfo
from vitrine_client.tables import format_table, printable

_DEFAULT_TARGET = "localhost:8500"

_EXAMPLES = {
    "vitrine-client": """examples:
  vitrine-client predict rose.jpg tulip.jpg --model flowers
  vitrine-client status --model flowers
  vitrine-client metadata --model flowers --rest http://localhost:8501""",
    "predict": """examples:
  vitrine-client predict rose.jpg tulip.jpg --model flowers
  vitrine-client predict rose.jpg --model flowers --top 3
  vitrine-client predict photos/*.jpg --model flowers --json > predictions.json
  vitrine-client predict 7.png --rest http://localhost:8501 --version 2""",
    "status": """examples:
  vitrine-client status --model flowers
  vitrine-client status --model flowers --version 3 --json""",
    "metadata": """examples:
  vitrine-client metadata --model flowers
  vitrine-client metadata --model flowers --rest http://localhost:8501 --json""",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code. Wrong usage ends in SystemExit(2), as argparse does it."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        try:
            client = _client(options)
        except InvalidInput as error:
            parser.error(str(error))
        with client:
            code: int = options.run(client, options)
        sys.stdout.flush()
    except VitrineError as error:
        _say(f"vitrine-client: {error}")
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader, such as `head`, has seen enough. Python would complain once more when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


def _predict(client: Client, options: argparse.Namespace) -> int:
    code = 0
    records: list[tuple[str, Prediction, float]] = []
    for path in options.paths:
        start = time.perf_counter()
        try:
            [prediction] = client.classify([path])
        except (ModelNotFound, Unavailable):
            # No other picture will fare better. What is known already is still worth having.
            _show_predictions(records, options)
            raise
        except VitrineError as error:
            _say(f"{path}: {error}")
            code = 1
            continue
        records.append((path, prediction, (time.perf_counter() - start) * 1000))
    _show_predictions(records, options)
    return code


def _show_predictions(records: Sequence[tuple[str, Prediction, float]], options: argparse.Namespace) -> None:
    if options.json:
        _write_json(
            [
                {
                    "picture": path,
                    "label": prediction.label,
                    "score": prediction.score,
                    "milliseconds": round(milliseconds, 3),
                    "top": [{"label": label, "score": score} for label, score in prediction.top[: options.top]],
                }
                for path, prediction, milliseconds in records
            ]
        )
    elif records:
        rows = []
        for path, prediction, milliseconds in records:
            first, *others = prediction.top[: options.top or 1]
            rows.append((path, first[0], f"{first[1]:.4f}", f"{milliseconds:.1f}"))
            rows.extend(("", label, f"{score:.4f}", "") for label, score in others)
        _write(format_table(("picture", "label", "score", "milliseconds"), rows))


def _status(client: Client, options: argparse.Namespace) -> int:
    status = client.status()
    if options.json:
        _write_json(asdict(status))
    else:
        rows = [
            (
                version.version,
                version.state,
                "" if version.error_code == "OK" else f"{version.error_code}: {version.error_message}",
            )
            for version in status.versions
        ]
        _write(format_table(("version", "state", "error"), rows))
    return 0


def _metadata(client: Client, options: argparse.Namespace) -> int:
    metadata = client.metadata()
    if options.json:
        _write_json(asdict(metadata))
    else:
        rows = [
            (name, direction, tensor, info.dtype, _shape(info))
            for name, signature in metadata.signatures.items()
            if not name.startswith("__")  # TensorFlow's own, not to be asked
            for direction, tensors in (("in", signature.inputs), ("out", signature.outputs))
            for tensor, info in tensors.items()
        ]
        _say(f"model {metadata.model}, version {metadata.version}")
        _write(format_table(("signature", "in/out", "tensor", "dtype", "shape"), rows))
    return 0


def _shape(info: TensorInfo) -> str:
    if info.shape is None:
        return "any"
    return f"[{', '.join('?' if size is None else str(size) for size in info.shape)}]"


def _client(options: argparse.Namespace) -> Client:
    if options.rest is not None:
        return RestClient(options.rest, model=options.model, version=options.version, timeout=options.timeout)
    target = _DEFAULT_TARGET if options.grpc is None else options.grpc
    return GrpcClient(target, model=options.model, version=options.version, timeout=options.timeout)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vitrine-client",
        description="Asks an image classifier on TensorFlow Serving.",
        epilog=_EXAMPLES["vitrine-client"],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    predict = _command(commands, "predict", _predict, "Classifies pictures, one request for each.")
    predict.add_argument("paths", nargs="+", metavar="PATH", help="image files")
    predict.add_argument(
        "--top",
        type=_whole_number(1),
        metavar="N",
        help="show the N best labels of each picture (default: the best one; with --json all the model gives)",
    )
    _command(commands, "status", _status, "Shows the versions of a model and whether they answer requests.")
    _command(commands, "metadata", _metadata, "Shows the signatures of a model: what goes in, what comes out.")
    return parser


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    run: Callable[[Client, argparse.Namespace], int],
    description: str,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=description,
        description=description,
        epilog=_EXAMPLES[name],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    address = parser.add_mutually_exclusive_group()
    address.add_argument("--grpc", metavar="HOST:PORT", help=f"the gRPC port (default: {_DEFAULT_TARGET})")
    address.add_argument("--rest", metavar="URL", help="ask over REST instead, at http://HOST:PORT")
    parser.add_argument("--model", default="digits", metavar="NAME", help="the model's name (default: digits)")
    parser.add_argument(
        "--version", type=_whole_number(0), metavar="N", help="the model's version (default: the highest loaded)"
    )
    parser.add_argument(
        "--timeout", type=_seconds, default=30.0, metavar="S", help="seconds for each request (default: 30)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts")
    return parser


def _whole_number(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not (text.isdecimal() and len(text) < 19 and int(text) >= least):
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {least}")
        return int(text)

    return parse


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")
    return seconds


def _write(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _write_json(value: object) -> None:
    _write(json.dumps(value, indent=2))


def _say(text: str) -> None:
    sys.stderr.write(f"{printable(' '.join(text.split()))}\n")


if __name__ == "__main__":
    sys.exit(main())
