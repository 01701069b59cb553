"""The command vitrine-export."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

# TensorFlow's own log lines ("could not find cuda drivers") say nothing that a user of this command could act on.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Take GPU memory as it is needed, not all at once; it can only be said before TensorFlow starts.
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")

from vitrine_client.tables import format_table
from vitrine_export.datasets.index import SPLITS
from vitrine_export.errors import ExportError, RecipeError, RunError
from vitrine_export.recipe import Recipe, load_recipe, read_value
from vitrine_export.runs import Run
from vitrine_serving.arguments import local_folder

if TYPE_CHECKING:
    from vitrine_export.search import Outcome

_EXAMPLES = """\
examples:
  vitrine-export train                                      train recipes/digits.yaml
  vitrine-export train --recipe recipes/flowers.yaml --data pictures --set training.epochs=5
  vitrine-export data --recipe recipes/dog_breeds.yaml      find, check and split the pictures, nothing else
  vitrine-export features --recipe recipes/dog_breeds_features.yaml
  vitrine-export search --recipe recipes/cats_vs_dogs_search.yaml --jobs 2
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
    except KeyboardInterrupt as interrupt:
        # Training and search say what they keep; everything else leaves things as they were.
        sys.stderr.write(f"\n{interrupt.args[0] if interrupt.args else 'interrupted; nothing was changed'}\n")
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
    common.add_argument("--data", type=Path, help="the folder of pictures, instead of the recipe's dataset.path")
    common.add_argument("--name", help="the model's name, instead of the recipe's")
    common.add_argument("--json", action="store_true", help="print the result as JSON")
    # Not for what follows the training: a run keeps the recipe that it was trained with.
    changes = argparse.ArgumentParser(add_help=False)
    changes.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE",
        help="other values for keys of the recipe, such as training.epochs=3",
    )  # fmt: skip
    cache = argparse.ArgumentParser(add_help=False)
    cache.add_argument(
        "--cache", type=Path, default=Path("cache"), help="of features and decoded pictures (default: %(default)s)"
    )
    runs = argparse.ArgumentParser(add_help=False)
    runs.add_argument("--runs", type=Path, default=Path("runs"), help="where runs are kept (default: %(default)s)")

    def command(
        name: str, run: Callable[[argparse.Namespace], None], summary: str, *options: argparse.ArgumentParser
    ) -> argparse.ArgumentParser:
        added = commands.add_parser(
            name, parents=[common, *options], help=summary, description=summary, epilog=_EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        added.set_defaults(run=run)
        return added

    command(
        "data", _data, "make or download the pictures where the recipe says from where; find, check, split them",
        changes,
    )  # fmt: skip
    command(
        "features", _features, "compute the backbone's features of all pictures, for any number of trainings",
        changes, cache,
    )  # fmt: skip
    found = command(
        "search", _search, "try the recipe's search space; a search that was stopped goes on", changes, cache, runs
    )
    trained = command(
        "train", _train, "train and evaluate a network; search first if the recipe says so", changes, cache, runs
    )
    for added in (found, trained):
        added.add_argument("--jobs", type=int, help="trials of a search at a time (default: by cores and memory)")
        added.add_argument("--fresh", action="store_true", help="start anew instead of going on where it stopped")
    trained.add_argument("--logs", type=Path, default=Path("logs"), help="for TensorBoard (default: %(default)s)")
    command("evaluate", _evaluate, "evaluate the trained network on the test split again", runs)
    command("export", _export, "write the trained network as a candidate version", runs)
    command("bless", _bless, "check the candidate in a fresh process, as a server would load it", runs)
    publish = command("publish", _publish, "put the blessed candidate into the model store as its next version", runs)
    publish.add_argument(
        "--models", type=local_folder, default=Path("models"), help="the model store (default: %(default)s)"
    )
    return parser


def _recipe(arguments: argparse.Namespace) -> Recipe:
    values = dict(_value(text) for text in arguments.set)
    return load_recipe(arguments.recipe, data=arguments.data, name=arguments.name, values=values)


def _value(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise RecipeError(f"--set {text}: write it as KEY=VALUE, such as training.epochs=3")
    return key, read_value(value, f"--set {key}")


def _run_of(arguments: argparse.Namespace) -> Run:
    # The run knows its pictures: any folder will do where only the recipe's name is asked for.
    run = Run(arguments.runs / (arguments.name or load_recipe(arguments.recipe, data=Path()).name))
    if arguments.data is not None:
        trained_on = Path(run.dataset().root)
        if arguments.data.resolve() != trained_on.resolve():
            raise RunError(
                f"--data {arguments.data}: {run.folder} was trained on {trained_on}; train again, or leave --data out"
            )
    return run


def _data(arguments: argparse.Namespace) -> None:
    recipe = _recipe(arguments)
    from vitrine_export.datasets.prepare import prepare_dataset
    from vitrine_export.preprocessing import Preprocessing

    index = prepare_dataset(recipe.dataset, Preprocessing(recipe.pipeline))
    if arguments.json:
        _out(index.to_json())
    else:
        counted = Counter((picture.label, picture.split) for picture in index.pictures)
        rows = [(label, *(str(counted[label, split]) for split in SPLITS)) for label in index.labels]
        _out(format_table(("class", *SPLITS), rows))


def _features(arguments: argparse.Namespace) -> None:
    recipe = _recipe(arguments)
    from vitrine_export.training.features import compute_features

    _print(arguments, compute_features(recipe, arguments.cache), "summary")


def _search(arguments: argparse.Namespace) -> None:
    outcome = _searched(arguments, _recipe(arguments))
    if arguments.json:
        _out(json.dumps(outcome.as_json(), ensure_ascii=False))
    else:
        _out(format_table(outcome.headers, outcome.rows))


def _searched(arguments: argparse.Namespace, recipe: Recipe) -> Outcome:
    from vitrine_export.search import search

    folder = arguments.runs / f"{recipe.name}.search"
    return search(recipe, folder, cache=arguments.cache, jobs=arguments.jobs, fresh=arguments.fresh)


def _train(arguments: argparse.Namespace) -> None:
    if os.environ.get("TF_CONFIG"):
        # Before the recipe's check starts TensorFlow, after which workers cannot join each other any more.
        from vitrine_export.training.devices import devices

        devices()
    recipe = _recipe(arguments)
    if recipe.search is not None:
        recipe = _searched(arguments, recipe).winner
    from vitrine_export.training import train

    folder = arguments.runs / recipe.name
    run = train(recipe, folder, cache=arguments.cache, logs=arguments.logs / recipe.name, fresh=arguments.fresh)
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
