"""A search tries what it is told, each thing once, keeps its books through any end, and names the best."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

import pytest

from vitrine_export.errors import RecipeError
from vitrine_export.recipe import Recipe, changed, load_recipe
from vitrine_export.search import resources
from vitrine_export.search.books import opened_books
from vitrine_export.search.crew import worker_environment
from vitrine_export.search.outcome import Result, Results
from vitrine_export.search.resources import available_memory, cores
from vitrine_export.search.space import checked_space, winning_recipe

RECIPES = Path(__file__).parents[2] / "recipes"
GRID = {
    "dense_layers": {"choices": [0, 1, 2], "sets": ["model.dense_layers"]},
    "layer_size": {"choices": [32, 64, 128], "sets": ["model.filters", "model.dense"]},
    "conv_layers": {"choices": [1, 2, 3], "sets": ["model.blocks"]},
}
DRAWN = {
    "training.learning_rate": {"low": 1e-5, "high": 1e-1, "log": True},
    "training.optimizer": {"choices": ["adam", "sgd"]},
}


def cnn_recipe(**settings: Any) -> Recipe:
    values = {"model": {"name": "cnn", "filters": 32, "blocks": 1}, "search": {"space": GRID, **settings}}
    return changed(load_recipe(RECIPES / "digits.yaml", data=RECIPES), values)


def stub_objective(values: dict[str, Any]) -> float:
    """In place of training where only what is tried matters."""
    return sum(value if isinstance(value, (int, float)) else len(value) for value in values.values())


def try_all(folder: Path, recipe: Recipe, *, killed_after: int | None = None) -> list[dict[str, Any]]:
    """Run `stub_objective`; with `killed_after`, leave after so many trials with the next one begun."""
    tried = []
    with opened_books(folder, recipe) as books:
        while begun := books.next():
            trial, values = begun
            tried.append(values)
            if len(tried) - 1 == killed_after:
                break
            books.finish(trial, "complete", [stub_objective(values)])
    return tried


def test_a_grid_has_every_combination_once(tmp_path: Path) -> None:
    tried = try_all(tmp_path, cnn_recipe(sampler="grid"))
    assert len(tried) == 27
    assert {tuple(values.values()) for values in tried} == set(itertools.product([0, 1, 2], [32, 64, 128], [1, 2, 3]))


def test_several_trials_of_a_grid_at_a_time(tmp_path: Path) -> None:
    with opened_books(tmp_path, cnn_recipe(sampler="grid")) as books:
        running, tried = [], []
        while (begun := books.next()) or running:
            if begun:
                running.append(begun)
            if len(running) == 4 or not begun:
                trial, values = running.pop(len(tried) % len(running))
                tried.append(tuple(values.values()))
                books.finish(trial, "failed" if len(tried) % 5 == 0 else "complete", [1.0])
    assert len(tried) == len(set(tried)) == 27


@pytest.mark.parametrize("sampler", ["grid", "random", "tpe"])
def test_a_search_that_was_killed_tries_what_it_would_have_tried(tmp_path: Path, sampler: str) -> None:
    space = {name: entry for name, entry in GRID.items() if name != "conv_layers"} if sampler == "grid" else DRAWN
    trials = 9 if sampler == "grid" else 13
    recipe = changed(cnn_recipe(), {"search": {"sampler": sampler, "space": space, "trials": trials, "seed": 3}})
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    whole = try_all(tmp_path / "whole", recipe)
    assert len(whole) == trials
    first = try_all(tmp_path / "killed", recipe, killed_after=5)
    assert first + try_all(tmp_path / "killed", recipe)[1:] == whole
    with opened_books(tmp_path / "killed", recipe) as books:
        assert [result.trial for result in books.results().results] == list(range(trials))


def test_another_seed_draws_other_values(tmp_path: Path) -> None:
    drawn = []
    for seed in (0, 1):
        (folder := tmp_path / str(seed)).mkdir()
        settings = {"sampler": "random", "trials": 3, "seed": seed, "space": DRAWN}
        drawn.append(try_all(folder, changed(cnn_recipe(), {"search": settings})))
    assert drawn[0] != drawn[1]
    assert all(1e-5 <= values["training.learning_rate"] <= 1e-1 for values in drawn[0])


def test_more_trials_go_on_with_the_same_search(tmp_path: Path) -> None:
    first = try_all(tmp_path, cnn_recipe(sampler="grid", trials=4))
    rest = try_all(tmp_path, cnn_recipe(sampler="grid"))
    assert (len(first), len(rest)) == (4, 23)
    assert not [values for values in rest if values in first]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"sampler": "grid", "space": DRAWN}, "search.space.training.learning_rate: a grid is made of `choices`"),
        ({"space": {"dataset.split.seed": {"choices": [1, 2]}}}, "accepted: keys of model, training"),
        ({"space": {"model.dense": {"choices": [8, 8]}}}, "search.space.model.dense.choices: 8: given twice"),
        (
            {"space": {"a": {"choices": [8], "sets": ["model.dense"]}, "model.dense": {"choices": [9]}}},
            "model.dense: set by more than one entry",
        ),
        ({"space": {"model.dense": {"low": 8.5, "high": 9, "integer": True}}}, "must be whole numbers"),
    ],
)
def test_a_space_that_cannot_be_searched(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        checked_space(changed(cnn_recipe(), {"search": settings}))


def test_the_winner_is_trained_in_full() -> None:
    recipe = cnn_recipe(sampler="grid", epochs=2)
    winner = winning_recipe(recipe, {"dense_layers": 2, "layer_size": 64, "conv_layers": 3})
    assert winner.search is None
    assert winner.training.epochs == recipe.training.epochs != 2
    assert winner.model.model_dump(include={"dense_layers", "filters", "dense", "blocks"}) == {
        "dense_layers": 2,
        "filters": 64,
        "dense": 64,
        "blocks": 3,
    }


@pytest.mark.parametrize(("metric", "best"), [("val_loss", 1), ("val_accuracy", 3)])
def test_the_best_is_complete_and_the_first_of_equals(metric: str, best: int) -> None:
    def result(trial: int, state: Any, value: float | None) -> Result:
        return Result(trial, state, {}, [] if value is None else [value], value, 1, 0.0)

    values = [
        ("failed", None),
        ("complete", 0.2),
        ("complete", 0.2),
        ("complete", 0.8),
        ("pruned", 0.1),
        ("pruned", 0.9),
    ]
    results = Results(metric, (), tuple(result(trial, *one) for trial, one in enumerate(values)))
    assert results.best().trial == best
    assert [row[1] for row in results.rows] == ["complete"] * 3 + ["pruned"] * 2 + ["failed"]


def test_a_worker_is_no_part_of_a_cluster_and_has_its_share_of_the_machine() -> None:
    given = {"TF_CONFIG": "{}", "PATH": "/bin"}
    assert worker_environment(given, 1, 2, 4, 0) == {
        "PATH": "/bin",
        "OMP_NUM_THREADS": "4",
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    }
    assert worker_environment({}, 3, 4, 1, 2)["CUDA_VISIBLE_DEVICES"] == "1"
    assert worker_environment({"CUDA_VISIBLE_DEVICES": "4,7"}, 1, 2, 1, 2)["CUDA_VISIBLE_DEVICES"] == "7"
    assert "CUDA_VISIBLE_DEVICES" not in worker_environment({}, 0, 1, 1, 2)


def test_cores_and_memory_are_the_machines() -> None:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 1 <= cores() <= (os.cpu_count() or 1)
    assert 0 < available_memory() <= total


def test_cores_and_memory_are_the_containers_where_it_has_fewer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In place of a container's own files.
    monkeypatch.setattr(resources, "_CGROUP", tmp_path)
    for name, content in {
        "cpu.max": "150000 100000\n",
        "memory.max": "9000000\n",
        "memory.current": "8000000\n",
        "memory.stat": "anon 1000000\nactive_file 3000000\ninactive_file 4000000\n",
    }.items():
        (tmp_path / name).write_text(content)
    assert (cores(), available_memory()) == (1, 5_000_000)
    (tmp_path / "memory.max").write_text("max\n")
    assert available_memory() > 5_000_000
