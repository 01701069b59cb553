"""The command vitrine-export."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# TensorFlow's own log lines ("could not find cuda drivers") say nothing that a user of this command could act on.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from vitrine_client.tables import format_table
from vitrine_export.errors import ExportError
from vitrine_export.recipe import Recipe, load_recipe
from vitrine_export.runs import Run
from vitrine_serving.arguments import local_folder

_EXAMPLES = """\
examples:
  vitrine-export train                                      train recipes/digits.yaml
  vitrine-export train --recipe recipes/cnn.yaml --data pictures --name flowers
  vitrine-export export && vitrine-export bless && vitrine-export publish
  vitrine-export evaluate --json | jq .accuracy

exit codes: 0 done, 1 failed, 2 wrong usage
"""


def main(argv: list[str] | None = None) -> None:
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except ExportError as error:
        sys.exit(f"vitrine-export {arguments.command}: {error}")
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted; nothing was changed\n")
        sys.exit(130)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vitrine-export",
        description="From a folder of pictures to a blessed, numbered SavedModel.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--recipe",
        type=Path,
        default=Path("recipes/digits.yaml"),
        help="what to train (default: %(default)s)",
    )
    common.add_argument("--data", type=Path, help="folder of class folders, instead of the recipe's dataset.path")
    common.add_argument("--name", help="the model's name, instead of the recipe's")
    common.add_argument("--runs", type=Path, default=Path("runs"), help="where runs are kept (default: %(default)s)")
    as_json = argparse.ArgumentParser(add_help=False)
    as_json.add_argument("--json", action="store_true", help="print the result as JSON")

    def command(name: str, run: Callable[[argparse.Namespace], None], summary: str) -> argparse.ArgumentParser:
        added = commands.add_parser(
            name, parents=[common, as_json], help=summary, description=summary, epilog=_EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        added.set_defaults(run=run)
        return added

    command("train", _train, "train and evaluate a network")
    command("evaluate", _evaluate, "evaluate the trained network on the test split again")
    command("export", _export, "write the trained network as a candidate version")
    command("bless", _bless, "check the candidate in a fresh process, as a server would load it")
    publish = command("publish", _publish, "put the blessed candidate into the model store as its next version")
    publish.add_argument(
        "--models", type=local_folder, default=Path("models"), help="the model store (default: %(default)s)"
    )
    return parser


def _recipe(arguments: argparse.Namespace) -> Recipe:
    return load_recipe(arguments.recipe, data=arguments.data, name=arguments.name)


def _run_of(arguments: argparse.Namespace) -> Run:
    return Run(arguments.runs / (arguments.name or _recipe(arguments).name))


def _train(arguments: argparse.Namespace) -> None:
    recipe = _recipe(arguments)
    from vitrine_export.training import train

    run = train(recipe, arguments.runs / recipe.name)
    _print_metrics(arguments, run.metrics(), run)


def _evaluate(arguments: argparse.Namespace) -> None:
    run = _run_of(arguments)
    run.require()
    from vitrine_export.evaluation import evaluate_again

    _print_metrics(arguments, evaluate_again(run), run)


def _export(arguments: argparse.Namespace) -> None:
    run = _run_of(arguments)
    run.require()
    from vitrine_export.exporting import export

    _print(arguments, {"candidate": str(export(run))}, "candidate")


def _bless(arguments: argparse.Namespace) -> None:
    from vitrine_export.blessing import bless

    outcome = bless(_run_of(arguments).candidate)
    if arguments.json:
        _print(arguments, outcome, "")
    else:
        rows = [(name, f"{value:.2f}") for name, value in outcome["latency_ms"].items()]
        _out(f"blessed: {outcome['golden']} golden pictures within {outcome['max_difference']:.1e} of training")
        _out(format_table(("signature", "median ms for one picture"), rows))


def _publish(arguments: argparse.Namespace) -> None:
    from vitrine_export.store import publish

    version = publish(_run_of(arguments).candidate, arguments.models)
    _print(arguments, {"version": int(version.name), "folder": str(version)}, "folder")


def _print_metrics(arguments: argparse.Namespace, metrics: dict[str, Any], run: Run) -> None:
    summary = f"accuracy {metrics['accuracy']:.4f} on {metrics['pictures']} test pictures; pictures in {run.plots}"
    _print(arguments, {**metrics, "summary": summary}, "summary")


def _print(arguments: argparse.Namespace, outcome: dict[str, Any], key: str) -> None:
    _out(json.dumps(outcome, ensure_ascii=False) if arguments.json else outcome[key])


def _out(text: str) -> None:
    sys.stdout.write(f"{text}\n")
