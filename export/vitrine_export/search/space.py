"""What a search may try: the values of each entry of `search.space`, and the recipe that a trial trains."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from collections.abc import Mapping
from typing import TypeAlias, cast

import optuna

from vitrine_export.errors import RecipeError
from vitrine_export.recipe import Recipe, changed
from vitrine_export.recipe.sections import Choices, Range, SearchConfig

Value: TypeAlias = bool | int | float | str

_SECTIONS = ("model", "training", "preprocessing", "augmentation")
_LARGEST_GRID = 100_000
_TRIALS = 20


def checked_space(recipe: Recipe) -> SearchConfig:
    """The recipe's search section.

    Raises RecipeError where there is none, or where it asks for what its sampler cannot do.
    """
    config = recipe.search
    if config is None:
        raise RecipeError(
            "search: missing; a search needs to know what to try: search.space with `choices` or `low`/`high`"
        )
    for name, entry in config.space.items():
        for key in _keys(name, entry):
            if key.split(".")[0] not in _SECTIONS:
                raise RecipeError(
                    f"search.space.{name}: {key}: the pictures and the export are the same for all trials; "
                    f"accepted: keys of {', '.join(_SECTIONS)}"
                )
        if isinstance(entry, Choices):
            _check_choices(name, entry)
        else:
            _check_range(name, entry, config.sampler)
    set_by = Counter(key for name, entry in config.space.items() for key in _keys(name, entry))
    if twice := [key for key, count in set_by.items() if count > 1]:
        raise RecipeError(f"search.space: {', '.join(twice)}: set by more than one entry")
    if config.sampler == "grid" and (size := _grid_size(config)) > _LARGEST_GRID:
        raise RecipeError(f"search.space: a grid of {size} combinations is too large; take the sampler random or tpe")
    return config


def trial_count(config: SearchConfig) -> int:
    """How many trials the whole search has."""
    if config.sampler == "grid":
        return min(config.trials or _grid_size(config), _grid_size(config))
    return config.trials or _TRIALS


def grid(config: SearchConfig) -> list[dict[str, Value]]:
    """Every combination of the choices once, in an order that depends on the seed alone.

    Shuffled, so that the first few of a large grid, or of one that was stopped, are no corner of it.
    """
    choices = {name: entry.choices for name, entry in config.space.items() if isinstance(entry, Choices)}
    combinations = [dict(zip(choices, values, strict=True)) for values in itertools.product(*choices.values())]
    random.Random(config.seed).shuffle(combinations)  # noqa: S311, no secret
    return combinations


def suggest(trial: optuna.Trial, name: str, entry: Choices | Range) -> Value:
    """A value for one entry, from the study's sampler."""
    if isinstance(entry, Choices):
        return cast(Value, trial.suggest_categorical(name, entry.choices))
    if entry.integer:
        return trial.suggest_int(name, int(entry.low), int(entry.high), log=entry.log)
    return trial.suggest_float(name, entry.low, entry.high, log=entry.log)


def trial_recipe(recipe: Recipe, values: Mapping[str, Value]) -> Recipe:
    """What one trial trains. Raises RecipeError for a combination that a recipe cannot have."""
    config = checked_space(recipe)
    own: dict[str, object] = {"search": None, "training.epochs": config.epochs or recipe.training.epochs}
    if recipe.dataset.cache == "auto":
        # Memory would be filled anew by each trial; files are written by the first and read by all.
        own["dataset.cache"] = "disk"
    return changed(recipe, {**own, **_settings(config, values)})


def winning_recipe(recipe: Recipe, values: Mapping[str, Value]) -> Recipe:
    """The recipe with the winning values, to be trained in full."""
    return changed(recipe, {"search": None, **_settings(checked_space(recipe), values)})


def _settings(config: SearchConfig, values: Mapping[str, Value]) -> dict[str, Value]:
    return {key: values[name] for name, entry in config.space.items() for key in _keys(name, entry)}


def _keys(name: str, entry: Choices | Range) -> list[str]:
    return entry.sets or [name]


def _grid_size(config: SearchConfig) -> int:
    return math.prod(len(entry.choices) for entry in config.space.values() if isinstance(entry, Choices))


def _check_choices(name: str, entry: Choices) -> None:
    # 1, 1.0 and true are equal, so neither optuna nor a table could tell them apart.
    if twice := [value for value, count in Counter(entry.choices).items() if count > 1]:
        raise RecipeError(f"search.space.{name}.choices: {', '.join(map(repr, twice))}: given twice")


def _check_range(name: str, entry: Range, sampler: str) -> None:
    if sampler == "grid":
        raise RecipeError(
            f"search.space.{name}: a grid is made of `choices`; the samplers random and tpe draw from `low` to `high`"
        )
    if entry.integer and not (entry.low.is_integer() and entry.high.is_integer()):
        raise RecipeError(f"search.space.{name}: low and high must be whole numbers where integer is true")
