"""What to train: a YAML file, checked before anything is touched.

Every key that a recipe may hold is a field in `sections`, in `networks` or below; an unknown key, a wrong type or a
missing folder is a RecipeError that names the file, the key and what is accepted there.
"""

from __future__ import annotations

from vitrine_export.recipe.loading import changed, load_recipe, read_value
from vitrine_export.recipe.networks import Cnn, LeNet, Transfer
from vitrine_export.recipe.recipe import MODEL_NAME, Recipe
from vitrine_export.recipe.sections import (
    BatchingConfig,
    DatasetConfig,
    ExportConfig,
    SearchConfig,
    Split,
    TrainingConfig,
)

__all__ = [
    "MODEL_NAME",
    "BatchingConfig",
    "Cnn",
    "DatasetConfig",
    "ExportConfig",
    "LeNet",
    "Recipe",
    "SearchConfig",
    "Split",
    "TrainingConfig",
    "Transfer",
    "changed",
    "load_recipe",
    "read_value",
]
