"""From a YAML file, and changes to it, to a checked recipe; from pydantic's errors to lines that help."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from vitrine_export.errors import RecipeError
from vitrine_export.recipe.networks import Cnn, LeNet, Transfer
from vitrine_export.recipe.recipe import Recipe
from vitrine_export.recipe.sections import Choices, Range

_NETWORKS = {get_args(kind.model_fields["name"].annotation)[0]: kind for kind in (LeNet, Cnn, Transfer)}
_UNIONS = {**_NETWORKS, "choices": Choices, "range": Range}


class _Loader(yaml.SafeLoader):
    """YAML with two habits of people in mind: 1e-3 is a number, and a key given twice is a mistake."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+0123456789.")
)


def load_recipe(
    path: Path, *, data: Path | None = None, name: str | None = None, values: Mapping[str, Any] | None = None
) -> Recipe:
    """Read and check the recipe at `path`; `data`, `name` and `values` (as in `changed`) override what it says.

    Raises RecipeError, one line for each thing that is wrong.
    """
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506, a SafeLoader
    except FileNotFoundError:
        raise RecipeError(f"{path}: no such recipe; the ones supplied are in recipes/") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read: {error}") from None
    except RecursionError:
        raise RecipeError(f"{path}: is nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:
        # A ValueError of what looks like a date and is none, such as 2024-13-01.
        raise RecipeError(f"{path}: is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict):
        raise RecipeError(f"{path}: must hold keys and values; accepted: {', '.join(Recipe.model_fields)}")
    if name is not None:
        raw["name"] = name
    try:
        recipe = Recipe.model_validate(raw)
    except ValidationError as error:
        raise RecipeError("\n".join(f"{path}: {line}" for line in _explain(error))) from None
    if values:
        recipe = changed(recipe, values)
    _check_space(recipe, path)
    return _with_folder(recipe, path, data)


def _with_folder(recipe: Recipe, path: Path, data: Path | None) -> Recipe:
    if data is not None:
        if not data.is_dir():
            raise RecipeError(f"DATA: no folder {data}; give the folder that holds the pictures")
        dataset = recipe.dataset.model_copy(update={"path": str(data), "source": None})
        return recipe.model_copy(update={"dataset": dataset})
    folder, source = recipe.dataset.path, recipe.dataset.source
    accepted = "accepted: the folder that holds the pictures, here or as DATA=/--data"
    if folder is None:
        raise RecipeError(f"{path}: dataset.path: missing; {accepted}")
    if source is None and not Path(folder).is_dir():
        raise RecipeError(f"{path}: dataset.path: no folder {folder}; {accepted}")
    return recipe


def read_value(text: str, where: str) -> Any:
    """A value as a recipe would hold it, such as `3`, `1e-4`, `true` or `[32, 64]`; RecipeError naming `where`."""
    try:
        return yaml.load(text, _Loader)  # noqa: S506, a SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError):
        raise RecipeError(f"{where}: {text!r} is not a value; write it as in a recipe") from None


def changed(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """The recipe with other values for some keys, such as {"training.epochs": 3}; checked as a file would be.

    Raises RecipeError for a key or a value that a recipe cannot have.
    """
    raw = recipe.model_dump(mode="json")
    for key, value in values.items():
        *sections, last = key.split(".")
        section = raw
        for part in sections:
            if section.get(part) is None:
                section[part] = {}
            section = section[part]
            if not isinstance(section, dict):
                raise RecipeError(f"{key}: {part} holds a value, no keys")
        section[last] = value
    try:
        return Recipe.model_validate(raw)
    except ValidationError as error:
        raise RecipeError("\n".join(_explain(error))) from None


def _check_space(recipe: Recipe, path: Path) -> None:
    """Every value that a search may try is tried on the recipe now, not in the middle of the night."""
    for name, entry in recipe.search.space.items() if recipe.search else ():
        for value in entry.choices if isinstance(entry, Choices) else (entry.low, entry.high):
            number = int(value) if isinstance(entry, Range) and entry.integer else value
            try:
                changed(recipe, dict.fromkeys(entry.sets or [name], number))
            except RecipeError as error:
                raise RecipeError(f"{path}: search.space.{name}: {error}") from None


def _explain(error: ValidationError) -> list[str]:
    return [_explain_one(detail) for detail in error.errors()]


def _explain_one(detail: Any) -> str:
    parts, owner = _way(detail["loc"], detail["type"] == "extra_forbidden")
    key = ".".join(map(str, parts)) or "recipe"
    if detail["type"] == "extra_forbidden":
        return f"{key}: unknown key; accepted here: {', '.join(owner.model_fields)}"
    if detail["type"] == "missing":
        return f"{key}: missing"
    if detail["type"] in ("union_tag_not_found", "union_tag_invalid"):
        return f"{key}.name: accepted: {', '.join(sorted(_NETWORKS))}"
    if detail["type"] == "model_type":
        return f"{key}: {detail['input']!r}: must hold keys and values; accepted: {', '.join(owner.model_fields)}"
    message = detail["msg"].removeprefix("Value error, ")
    if not parts:
        return message
    return f"{key}: {detail['input']!r}: {message[0].lower()}{message[1:]}"


def _way(loc: tuple[Any, ...], unknown: bool) -> tuple[list[Any], type[BaseModel]]:
    """The keys that lead to an error, and the section they end in; the last key may be one that is `unknown`.

    Beside keys, pydantic names the member of a union that it tried, such as `cnn`, `range` or `list[...]`.
    """
    keys: list[Any] = []
    section: type[BaseModel] = Recipe
    for at, part in enumerate(loc):
        named = section.model_fields.get(part)
        if part in _UNIONS and named is None:
            section = _UNIONS[part]
        elif named is not None:
            keys.append(part)
            kinds = [kind for kind in (named.annotation, *get_args(named.annotation)) if _is_section(kind)]
            section = kinds[0] if len(kinds) == 1 else section
        elif isinstance(part, int) or (unknown and at == len(loc) - 1) or loc[at - 1] == "space":
            keys.append(part)
    return keys, section


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
