"""A recipe is checked before anything is touched, and every mistake is named with the way out."""

from __future__ import annotations

from pathlib import Path

import pytest

from vitrine_export.errors import RecipeError
from vitrine_export.recipe import load_recipe

GOOD = """\
name: pets
dataset: {path: PICTURES}
preprocessing: decode|resize(32)|value_range(-1,1)
model: {name: lenet}
"""


@pytest.fixture
def write(tmp_path: Path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()

    def write(text: str) -> Path:
        path = tmp_path / "pets.yaml"
        path.write_text(text.replace("PICTURES", str(pictures)))
        return path

    return write


def test_a_short_recipe_gets_defaults(write) -> None:
    recipe = load_recipe(write(GOOD))
    assert recipe.model.name == "lenet"
    assert recipe.export.top_k == 5
    assert recipe.dataset.split.train + recipe.dataset.split.validation + recipe.dataset.split.test == 1


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml")), ids=lambda p: p.name)
def test_the_supplied_recipes_are_valid(path: Path, tmp_path: Path) -> None:
    load_recipe(path, data=tmp_path)


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (("name: pets", "name: pets\nepoch: 3"), ["epoch: unknown key", "training"]),
        (("lenet}", "lenet, droput: 0.5}"), ["model.droput: unknown key", "dropout"]),
        (("{name: lenet}", "{name: resnet}"), ["model.name", "cnn, lenet"]),
        (("{name: lenet}", "{}"), ["model.name", "cnn, lenet"]),
        (("name: pets", "name: pets\ntraining: {epochs: many}"), ["training.epochs", "'many'", "integer"]),
        (("name: pets", "name: pets\ntraining: {epochs: 0}"), ["training.epochs", "greater than or equal to 1"]),
        (("name: pets", "name: ../etc"), ["name: '../etc'", "pattern"]),
        (("name: pets\n", ""), ["name: missing"]),
        (("decode|", "decode|rezise(3)|"), ["preprocessing", "unknown step 'rezise'", "resize"]),
        (("decode|resize(32)|", "decode|"), ["preprocessing", "no fixed output size", "resize(SIDE)"]),
        (("decode|resize(32)|", "resize(32)|"), ["preprocessing", "must start with the step decode"]),
        (("resize(32)", "resize(__import__('os'))"), ["preprocessing", "cannot read the step"]),
        (("(-1,1)", "(1,-1)"), ["preprocessing", "value_range"]),
        (("{path: PICTURES}", "{path: PICTURES, split: {train: 0.9}}"), ["dataset.split", "must add up to 1"]),
        (("{path: PICTURES}", "{path: nowhere}"), ["dataset.path", "no folder nowhere", "DATA="]),
        (("{path: PICTURES}", "{}"), ["dataset.path: missing", "DATA="]),
        (("name: pets", "name: pets\nexport: {batching: {allowed_batch_sizes: [8, 4]}}"), ["increase"]),
    ],
)
def test_a_mistake_names_file_key_and_what_is_accepted(write, change: tuple[str, str], parts: list[str]) -> None:
    path = write(GOOD.replace(*change))
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    for part in [str(path), *parts]:
        assert part in str(caught.value)


def test_numbers_may_be_written_as_people_write_them(write) -> None:
    recipe = load_recipe(write(GOOD + "training: {learning_rate: 1e-3}\n"))
    assert recipe.training.learning_rate == 0.001


def test_every_mistake_is_reported_at_once(write) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(write(GOOD.replace("pets", "../x") + "extra: 1\n"))
    assert len(str(caught.value).splitlines()) == 2


def test_files_that_are_no_recipe(write, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no such recipe"):
        load_recipe(tmp_path / "none.yaml")
    with pytest.raises(RecipeError, match="is not YAML"):
        load_recipe(write("name: [unclosed"))
    with pytest.raises(RecipeError, match="the key 'name' is given twice"):
        load_recipe(write(GOOD + "name: dogs\n"))
    with pytest.raises(RecipeError, match="nested too deeply"):
        load_recipe(write("a: " + "[" * 5000))
    with pytest.raises(RecipeError, match="must hold keys and values"):
        load_recipe(write("just text"))
    with pytest.raises(RecipeError, match="cannot be read"):
        load_recipe(tmp_path)


def test_data_and_name_override_the_recipe(write, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    recipe = load_recipe(write(GOOD), data=other, name="dogs")
    assert (recipe.name, recipe.dataset.path) == ("dogs", str(other))
    with pytest.raises(RecipeError, match=r"DATA: no folder .*absent"):
        load_recipe(write(GOOD), data=tmp_path / "absent")
