"""How good the recipes are on the shared pictures, beside the methods that they replace: docs/results.md.

    make bench BENCH=results ARGS="--data ../shared/data --write docs/results.md"

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
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import baselines, page
from vitrine_client.tables import format_table
from vitrine_export.datasets.index import DatasetIndex
from vitrine_export.datasets.prepare import prepare_dataset
from vitrine_export.preprocessing import Preprocessing
from vitrine_export.recipe import Recipe, changed, load_recipe
from vitrine_export.runs import write_json
from vitrine_export.search import search
from vitrine_export.training import train

REPOSITORY = Path(__file__).parents[1]
_PLAIN = {"augmentation": "", "model.dropout": 0.0}


@dataclass(frozen=True)
class Experiment:
    """A recipe with changes, or a `baseline` on the recipe's pictures and splits."""

    title: str
    recipe: str
    data: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    target: str = ""
    baseline: Callable[[DatasetIndex, int], float] | None = None
    most_seeds: int = 100


def _experiments(weights: Path) -> list[Experiment]:
    vectors = weights / "hub" / "mobilenet_v2_100_224_feature_vector"
    classes = weights / "hub" / "mobilenet_v2_100_224_classification"
    # The recipe's Inception takes 299, MobileNet 224.
    square = "decode(scaled=True)|central_square|resize(224,antialias=True)"
    module = {"model.backbone": str(vectors)}
    flowers, pets, breeds, split = "flowers", "cats_vs_dogs/PetImages", "dog_breeds/kaggle", "dog_breeds/dogImages"
    return [
        Experiment("flowers, transfer", "flowers_transfer", flowers, module, "0.88"),
        Experiment("flowers, CNN with augmentation and dropout", "flowers", flowers, {}, "plain + 0.05"),
        Experiment("flowers, the same CNN without", "flowers", flowers, _PLAIN),
        Experiment("flowers, system 2: CNN, 10 epochs", "flowers", flowers, baseline=baselines.flowers_cnn),
        Experiment(
            "flowers, system 2: with augmentation and dropout, 15 epochs",
            "flowers",
            flowers,
            baseline=partial(baselines.flowers_cnn, augmented=True),
        ),
        Experiment("cats and dogs, transfer", "cats_vs_dogs_transfer", pets, module, "0.985"),
        Experiment("cats and dogs, grey CNN", "cats_vs_dogs", pets),
        Experiment("cats and dogs, the best of 27 grey CNNs", "cats_vs_dogs_search", pets, most_seeds=3),
        Experiment("cats and dogs, system 3: grey CNN", "cats_vs_dogs", pets, baseline=baselines.grey_cnn),
        Experiment("cats and dogs, LeNet with augmentation", "lenet_cats_vs_dogs", pets, {}, "above without"),
        Experiment("cats and dogs, LeNet without", "lenet_cats_vs_dogs", pets, _PLAIN),
        Experiment("cats and dogs, system 5: LeNet", "lenet_cats_vs_dogs", pets, baseline=baselines.lenet),
        Experiment("25 dog breeds, transfer", "dog_breeds", breeds, module, "0.90"),
        Experiment(
            "25 dog breeds, system 1: layer on 1001 outputs",
            "dog_breeds",
            breeds,
            baseline=partial(baselines.hub_logits, classification_module=classes),
        ),
        Experiment(
            "12 dog breeds, features, given split", "dog_breeds_features", split, {**module, "preprocessing": square}
        ),
        Experiment(
            "12 dog breeds, system 4: layer on features, given split",
            "dog_breeds_features",
            split,
            baseline=partial(baselines.bottleneck, feature_module=vectors),
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder with flowers/, cats_vs_dogs/, weights/ …")
    parser.add_argument("--seeds", type=int, default=5, help="how many seeds (default: %(default)s)")
    parser.add_argument("--work", type=Path, default=Path("cache/results"), help="kept between runs (%(default)s)")
    parser.add_argument("--only", default="", help="experiments whose title holds this text")
    parser.add_argument("--write", type=page.page, help="put the table into this document, between its marks")
    options = parser.parse_args()
    experiments = _experiments(options.data / "weights")
    chosen = [experiment for experiment in experiments if options.only in experiment.title]
    if not chosen:
        parser.error(f"--only {options.only}: no such experiment; there are: {'; '.join(e.title for e in experiments)}")
    for folder in [options.data / "weights" / "hub", *(options.data / experiment.data for experiment in chosen)]:
        if not folder.is_dir():
            parser.error(f"--data: {folder} is not there")
    options.work.mkdir(parents=True, exist_ok=True)
    rows = [_row(experiment, _accuracies(experiment, options)) for experiment in chosen]
    table = format_table(("what", "mean", "deviation", "seeds", "wanted"), rows)
    print(table)
    if options.write:
        page.write(options.write, f"```\n{table}\n```")


def _accuracies(experiment: Experiment, options: argparse.Namespace) -> list[float]:
    """One accuracy per seed; a figure whose recipe has not changed is taken from the run before."""
    file = options.work / "known.json"
    figures = []
    for seed in range(min(options.seeds, experiment.most_seeds)):
        recipe = _recipe(experiment, seed, options.data)
        key = f"{experiment.title}, seed {seed}, {_digest(experiment, recipe)}"
        figure = _known(file).get(key)
        if figure is None:
            figure = _accuracy(experiment, recipe, seed, options.work)
            # Read again: others may have been at work meanwhile.
            write_json(file, _known(file) | {key: figure})
        figures.append(figure)
        print(f"{experiment.title}, seed {seed}: {figure:.4f}", flush=True)
    return figures


def _known(file: Path) -> dict[str, float]:
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def _recipe(experiment: Experiment, seed: int, data: Path) -> Recipe:
    recipe = load_recipe(REPOSITORY / "recipes" / f"{experiment.recipe}.yaml", data=data / experiment.data)
    return changed(recipe, {**experiment.changes, "training.seed": seed, "dataset.split.seed": seed})


def _digest(experiment: Experiment, recipe: Recipe) -> str:
    """Of what decides the figure: the whole recipe, or for a baseline its pictures."""
    pictures = f"{experiment.title} {recipe.dataset.model_dump_json()}"
    decides = pictures if experiment.baseline else recipe.model_dump_json(exclude={"description"})
    return hashlib.sha256(decides.encode()).hexdigest()[:16]


def _accuracy(experiment: Experiment, recipe: Recipe, seed: int, work: Path) -> float:
    if experiment.baseline:
        return experiment.baseline(prepare_dataset(recipe.dataset, Preprocessing(recipe.pipeline)), seed)
    folder = work / "runs" / _digest(experiment, recipe)
    if recipe.search:
        recipe = search(recipe, folder.with_suffix(".search"), cache=work / "cache").winner
    run = train(recipe, folder, cache=work / "cache", logs=work / "logs" / folder.name, fresh=True)
    return float(run.metrics()["accuracy"])


def _row(experiment: Experiment, figures: list[float]) -> tuple[str, ...]:
    deviation = f"{statistics.stdev(figures):.3f}" if len(figures) > 1 else "-"
    return experiment.title, f"{statistics.mean(figures):.3f}", deviation, str(len(figures)), experiment.target


if __name__ == "__main__":
    main()
