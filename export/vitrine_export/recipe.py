"""What to train: a YAML file, checked before anything is touched.

Every key that a recipe may hold is a field below; an unknown key, a wrong type or a missing folder is a RecipeError
that names the file, the key and what is accepted there.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from vitrine_export.errors import RecipeError

MODEL_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Split(_Strict):
    """Shares of the pictures, by a hash of each file's content; they add up to 1."""

    train: float = Field(0.7, gt=0, lt=1)
    validation: float = Field(0.15, gt=0, lt=1)
    test: float = Field(0.15, gt=0, lt=1)

    @model_validator(mode="after")
    def _add_up(self) -> Split:
        total = self.train + self.validation + self.test
        if abs(total - 1) > 1e-6:
            raise ValueError(f"train + validation + test must add up to 1, not {total:g}")
        return self


class DatasetConfig(_Strict):
    """Where the pictures are: a folder with one folder of pictures for each class."""

    path: str | None = None
    """The folder; relative to the current directory."""
    source: Literal["digits"] | None = None
    """Pictures that Vitrine makes itself where `path` does not exist yet."""
    split: Split = Split()


class LeNet(_Strict):
    """LeNet-5 (LeCun et al., 1998), with ReLU and max pooling."""

    name: Literal["lenet"]
    dropout: float = Field(0.0, ge=0, lt=1)


class Cnn(_Strict):
    """Blocks of 3x3 convolution, batch normalisation, ReLU and 2x2 max pooling, then a dense layer."""

    name: Literal["cnn"]
    filters: list[Annotated[int, Field(ge=1, le=2048)]] = Field([32, 64, 128], min_length=1, max_length=8)
    dense: int = Field(128, ge=1, le=8192)
    dropout: float = Field(0.3, ge=0, lt=1)


class TrainingConfig(_Strict):
    epochs: int = Field(20, ge=1, le=10_000)
    batch_size: int = Field(32, ge=1, le=65_536)
    learning_rate: float = Field(1e-3, gt=0, le=10)
    """Adam's rate at the start; it falls to zero along a cosine."""
    seed: int = Field(0, ge=0, lt=2**32)


class BatchingConfig(_Strict):
    """The in-graph batch round the network. A request with more pictures than the largest size is split."""

    allowed_batch_sizes: list[Annotated[int, Field(ge=1, le=4096)]] = Field([1, 2, 4, 8, 16, 32], min_length=1)
    batch_timeout_micros: int = Field(0, ge=0, le=1_000_000)
    """How long a batch waits for more pictures, in microseconds; 0 batches what is waiting anyway."""
    num_batch_threads: int = Field(4, ge=1, le=256)
    max_enqueued_batches: int = Field(1000, ge=1)

    @field_validator("allowed_batch_sizes")
    @classmethod
    def _increasing(cls, sizes: list[int]) -> list[int]:
        if sizes != sorted(set(sizes)):
            raise ValueError("must increase from one size to the next")
        return sizes


class ExportConfig(_Strict):
    top_k: int = Field(5, ge=1, le=1000)
    """How many labels `serving_default` answers with; never more than there are classes."""
    golden_pictures: int = Field(16, ge=1, le=256)
    """Test pictures kept in every version with the network's answers, for later checks."""
    batching: BatchingConfig = BatchingConfig()


class Recipe(_Strict):
    name: str = Field(pattern=MODEL_NAME)
    """The model's name in the model store and in every request."""
    description: str = ""
    dataset: DatasetConfig = DatasetConfig()
    preprocessing: str = Field(min_length=1)
    model: Annotated[LeNet | Cnn, Field(discriminator="name")]
    training: TrainingConfig = TrainingConfig()
    export: ExportConfig = ExportConfig()

    @field_validator("preprocessing")
    @classmethod
    def _composes(cls, spec: str) -> str:
        # Here, because importing TensorFlow takes seconds that a mistyped key should not cost.
        from vitrine_export.preprocessing import Preprocessing

        Preprocessing(spec)
        return spec


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


def load_recipe(path: Path, *, data: Path | None = None, name: str | None = None) -> Recipe:
    """Read and check the recipe at `path`; `data` and `name` override `dataset.path` and `name`.

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
    except yaml.YAMLError as error:
        raise RecipeError(f"{path}: is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict):
        raise RecipeError(f"{path}: must hold keys and values; accepted: {_keys(Recipe)}")
    if name is not None:
        raw["name"] = name
    try:
        recipe = Recipe.model_validate(raw)
    except ValidationError as error:
        raise RecipeError("\n".join(f"{path}: {line}" for line in _explain(error))) from None
    return _with_folder(recipe, path, data)


def _with_folder(recipe: Recipe, path: Path, data: Path | None) -> Recipe:
    if data is not None:
        if not data.is_dir():
            raise RecipeError(f"DATA: no folder {data}; give a folder that holds one folder of pictures per class")
        dataset = recipe.dataset.model_copy(update={"path": str(data), "source": None})
        return recipe.model_copy(update={"dataset": dataset})
    folder, source = recipe.dataset.path, recipe.dataset.source
    accepted = "accepted: a folder that holds one folder of pictures per class, here or as DATA=/--data"
    if folder is None:
        raise RecipeError(f"{path}: dataset.path: missing; {accepted}")
    if source is None and not Path(folder).is_dir():
        raise RecipeError(f"{path}: dataset.path: no folder {folder}; {accepted}")
    return recipe


def _explain(error: ValidationError) -> list[str]:
    return [_explain_one(detail) for detail in error.errors()]


def _explain_one(detail: Any) -> str:
    tags = {"lenet", "cnn"}
    parts = [part for part in detail["loc"] if part not in tags]
    key = ".".join(str(part) for part in parts) or "recipe"
    if detail["type"] == "extra_forbidden":
        owner = _owner(parts[:-1], detail["loc"])
        return f"{key}: unknown key; accepted here: {_keys(owner)}"
    if detail["type"] == "missing":
        return f"{key}: missing"
    if detail["type"] in ("union_tag_not_found", "union_tag_invalid"):
        return f"{key}.name: accepted: {', '.join(sorted(tags))}"
    message = detail["msg"].removeprefix("Value error, ")
    return f"{key}: {detail['input']!r}: {message[0].lower()}{message[1:]}"


def _owner(parts: list[Any], loc: tuple[Any, ...]) -> type[BaseModel]:
    """The section of the recipe that a path of keys leads to."""
    section: type[BaseModel] = Recipe
    for part in parts:
        if part == "model":
            return next(kind for kind in (LeNet, Cnn) if get_args(kind.model_fields["name"].annotation)[0] in loc)
        annotation = section.model_fields[part].annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            section = annotation
    return section


def _keys(section: type[BaseModel]) -> str:
    return ", ".join(section.model_fields)
