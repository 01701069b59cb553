"""How good the recipes are on the shared pictures, beside the methods that they replace: docs/results.md.

    make bench BENCH=results ARGS="--data ../shared/data"

Every figure is the mean over seeds that change the split, the weights at the start and the order. What is known already
is kept in --work and not computed again, so a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import baselines
from vitrine_client.tables import format_table
from vitrine_export.datasets.index import DatasetIndex
from vitrine_export.recipe import Recipe, changed, load_recipe
from vitrine_export.runs import write_json

REPOSITORY = Path(__file__).parents[1]
PAGE = REPOSITORY / "docs" / "results.md"
_BEGIN, _END = "<!-- figures: begin -->\n", "<!-- figures: end -->\n"
_PLAIN = {"augmentation": "", "model.dropout": 0.0}


@dataclass(frozen=True)
class Experiment:
    title: str
    recipe: str
    data: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    target: str = ""


def _experiments(weights: Path) -> list[Experiment]:
    module = {"model.backbone": str(weights / "hub" / "mobilenet_v2_100_224_feature_vector")}
    pets, breeds = "cats_vs_dogs/PetImages", "dog_breeds/kaggle"
    return [
        Experiment("flowers, transfer", "flowers_transfer", "flowers", module, "0.88"),
        Experiment("flowers, CNN with augmentation and dropout", "flowers", "flowers", {}, "plain + 0.05"),
        Experiment("flowers, the same CNN without", "flowers", "flowers", _PLAIN),
        Experiment("cats and dogs, transfer", "cats_vs_dogs_transfer", pets, module, "0.985"),
        Experiment("cats and dogs, grey CNN", "cats_vs_dogs", pets),
        Experiment("cats and dogs, LeNet with augmentation", "lenet_cats_vs_dogs", pets, {}, "above without"),
        Experiment("cats and dogs, LeNet without", "lenet_cats_vs_dogs", pets, _PLAIN),
        Experiment("25 dog breeds, transfer", "dog_breeds", breeds, module, "0.90"),
        Experiment(
            "12 dog breeds, features, given split",
            "dog_breeds_features",
            "dog_breeds/dogImages",
            # The recipe's Inception takes 299, MobileNet 224.
            {**module, "preprocessing": "decode(scaled=True)|central_square|resize(224,antialias=True)"},
        ),
    ]


def _baselines(weights: Path) -> list[tuple[str, str, str, Callable[[DatasetIndex, int], float]]]:
    """Title, the recipe whose pictures and splits it gets, their folder, and the method."""
    classification = weights / "hub" / "mobilenet_v2_100_224_classification"
    module = weights / "hub" / "mobilenet_v2_100_224_feature_vector"
    pets = "cats_vs_dogs/PetImages"
    return [
        ("flowers, system 2: CNN, 10 epochs", "flowers", "flowers", baselines.flowers_cnn),
        (
            "flowers, system 2: with augmentation and dropout, 15 epochs",
            "flowers",
            "flowers",
            lambda index, seed: baselines.flowers_cnn(index, seed, augmented=True),
        ),
        ("cats and dogs, system 3: grey CNN", "cats_vs_dogs", pets, baselines.grey_cnn),
        ("cats and dogs, system 5: LeNet", "lenet_cats_vs_dogs", pets, baselines.lenet),
        (
            "25 dog breeds, system 1: layer on 1001 outputs",
            "dog_breeds",
            "dog_breeds/kaggle",
            lambda index, seed: baselines.hub_logits(index, seed, classification),
        ),
        (
            "12 dog breeds, system 4: layer on features, given split",
            "dog_breeds_features",
            "dog_breeds/dogImages",
            lambda index, seed: baselines.bottleneck(index, seed, module),
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder with flowers/, cats_vs_dogs/, weights/ …")
    parser.add_argument("--seeds", type=int, default=5, help="how many seeds (default: %(default)s)")
    parser.add_argument("--work", type=Path, default=Path("cache/results"), help="kept between runs (%(default)s)")
    parser.add_argument("--only", default="", help="experiments whose title holds this text")
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE.relative_to(REPOSITORY)}")
    arguments = parser.parse_args()
    rows = [_row(title, target, _accuracies(title, one, arguments)) for title, target, one in _all(arguments)]
    table = format_table(("what", "mean", "deviation", "seeds", "wanted"), rows)
    print(table)
    if arguments.write:
        head, rest = PAGE.read_text(encoding="utf-8").split(_BEGIN)
        text = f"{head}{_BEGIN}\n```\n{table}\n```\n\n{_END}{rest.split(_END)[1]}"
        PAGE.write_text(text, encoding="utf-8")


def _all(arguments: argparse.Namespace) -> list[tuple[str, str, Callable[[int], tuple[str, Callable[[], float]]]]]:
    """Title, target, and for a seed: what decides the figure, and how to come by it."""
    weights = arguments.data / "weights"
    found: list[tuple[str, str, Callable[[int], tuple[str, Callable[[], float]]]]] = []
    for experiment in _experiments(weights):
        found.append((experiment.title, experiment.target, _ours(experiment, arguments)))
    for title, recipe, data, method in _baselines(weights):
        found.append((title, "", _theirs(Experiment(title, recipe, data), method, arguments)))
    return [entry for entry in found if arguments.only in entry[0]]


def _recipe(experiment: Experiment, seed: int, arguments: argparse.Namespace) -> Recipe:
    path = REPOSITORY / "recipes" / f"{experiment.recipe}.yaml"
    recipe = load_recipe(path, data=arguments.data / experiment.data)
    return changed(recipe, {**experiment.changes, "training.seed": seed, "dataset.split.seed": seed})


def _ours(experiment: Experiment, arguments: argparse.Namespace) -> Callable[[int], tuple[str, Callable[[], float]]]:
    def one(seed: int) -> tuple[str, Callable[[], float]]:
        recipe = _recipe(experiment, seed, arguments)

        def accuracy() -> float:
            from vitrine_export.training import train

            work = arguments.work
            run = train(recipe, work / "runs" / f"seed{seed}", cache=work / "cache", logs=work / "logs", fresh=True)
            return float(run.metrics()["accuracy"])

        return recipe.model_dump_json(exclude={"description"}), accuracy

    return one


def _theirs(
    experiment: Experiment, method: Callable[[DatasetIndex, int], float], arguments: argparse.Namespace
) -> Callable[[int], tuple[str, Callable[[], float]]]:
    def one(seed: int) -> tuple[str, Callable[[], float]]:
        recipe = _recipe(experiment, seed, arguments)

        def accuracy() -> float:
            from vitrine_export.datasets.prepare import prepare_dataset
            from vitrine_export.preprocessing import Preprocessing

            return method(prepare_dataset(recipe.dataset, Preprocessing(recipe.pipeline)), seed)

        return f"{experiment.title} {recipe.dataset.model_dump_json()}", accuracy

    return one


def _accuracies(
    title: str, one: Callable[[int], tuple[str, Callable[[], float]]], arguments: argparse.Namespace
) -> list[float]:
    """One accuracy per seed; a figure whose recipe has not changed is taken from the run before."""
    known_file = arguments.work / "known.json"
    arguments.work.mkdir(parents=True, exist_ok=True)
    figures = []
    for seed in range(arguments.seeds):
        decides, accuracy = one(seed)
        key = f"{title}, seed {seed}, {hashlib.sha256(decides.encode()).hexdigest()[:16]}"
        known = json.loads(known_file.read_text(encoding="utf-8")) if known_file.exists() else {}
        if key not in known:
            known[key] = accuracy()
            write_json(known_file, known)
        figures.append(known[key])
        print(f"{title}, seed {seed}: {known[key]:.4f}", flush=True)
    return figures


def _row(title: str, target: str, figures: list[float]) -> tuple[str, ...]:
    deviation = f"{statistics.stdev(figures):.3f}" if len(figures) > 1 else "-"
    return title, f"{statistics.mean(figures):.3f}", deviation, str(len(figures)), target


if __name__ == "__main__":
    main()
