"""What tests of training share: few small pictures, recipes for them, and trainings in processes of their own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vitrine_export.recipe import Recipe, changed, load_recipe

RECIPES = Path(__file__).parents[1] / "recipes"


def few_pictures(source: Path, folder: Path, per_class: int = 8) -> Path:
    """The first pictures of each class folder of `source`."""
    for one in sorted(path for path in source.iterdir() if path.is_dir()):
        (folder / one.name).mkdir(parents=True)
        for path in sorted(one.iterdir())[:per_class]:
            shutil.copy(path, folder / one.name)
    return folder


def recipe_for(data: Path, values: Mapping[str, Any] | None = None) -> Recipe:
    """The digits recipe for the pictures in `data`, two epochs long unless `values` say otherwise."""
    loaded = load_recipe(RECIPES / "digits.yaml", data=data)
    return changed(loaded, {"training.epochs": 2} | dict(values or {}))


def started(code: str, *arguments: object, environment: Mapping[str, str], output: Path) -> subprocess.Popen[bytes]:
    """A Python process that runs `code`; what it says goes to the file `output`."""
    with output.open("wb") as said:
        command = [sys.executable, "-c", code, *map(str, arguments)]
        return subprocess.Popen(command, env=dict(environment), stdout=said, stderr=subprocess.STDOUT)


def equal_weights(first: Any, second: Any) -> bool:
    """Whether two networks have the same weights, bit for bit."""
    pairs = zip(first.get_weights(), second.get_weights(), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)
