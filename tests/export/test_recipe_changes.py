"""Changes to a recipe from the command line or a search, and what a recipe says of its backbone's pixel values."""

from __future__ import annotations

from pathlib import Path

import pytest

from vitrine_export.errors import RecipeError
from vitrine_export.recipe import Recipe, changed, load_recipe, read_value


def recipe(**more: object) -> Recipe:
    base = {"name": "pets", "preprocessing": "decode|resize(32)", "model": {"name": "lenet"}}
    return Recipe.model_validate({**base, **more})


def transfer(backbone: str, preprocessing: str = "decode|resize(224)", **more: object) -> Recipe:
    return recipe(preprocessing=preprocessing, model={"name": "transfer", "backbone": backbone, **more})


def test_keys_of_any_depth_can_be_changed() -> None:
    new = changed(recipe(), {"training.epochs": 3, "dataset.split.seed": 2, "training.early_stopping.patience": 9})
    assert (new.training.epochs, new.dataset.split.seed) == (3, 2)
    assert new.training.early_stopping is not None
    assert new.training.early_stopping.patience == 9
    assert recipe().training.epochs == 20


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ({"training.epoch": 3}, ["training.epoch: unknown key", "batch_size"]),
        ({"training.epochs": "many"}, ["training.epochs: 'many'", "integer"]),
        ({"training.fine_tune.layer": 1}, ["training.fine_tune.layer: unknown key", "layers, epochs"]),
        ({"model.droput": 3}, ["model.droput: unknown key", "dropout"]),
        ({"dataset.split.train": 2}, ["dataset.split.train: 2: input should be less than 1"]),
        ({"name.first": 1}, ["name.first", "no keys"]),
        ({"model.dense": 3}, ["model.dense: unknown key", "accepted here: name, dropout"]),
        ({"training": 3}, ["training: 3: must hold keys and values", "epochs, batch_size"]),
        ({"model": {"name": "cnn", "blocks": 2}}, ["model.blocks: 2: takes `filters` as a single number"]),
    ],
)
def test_a_change_that_a_recipe_cannot_have_is_explained(values: dict[str, object], parts: list[str]) -> None:
    with pytest.raises(RecipeError) as caught:
        changed(recipe(), values)
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"), [("3", 3), ("1e-3", 1e-3), ("true", True), ("[1, 2]", [1, 2]), ("null", None), ("a/b", "a/b")]
)
def test_values_are_read_as_a_recipe_would(text: str, value: object) -> None:
    assert read_value(text, "here") == value


@pytest.mark.parametrize("text", ["[1, 2", "2024-13-01"])
def test_what_is_no_value_is_told(text: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"^--set training.epochs: .* is not a value; write it as in a recipe"):
        read_value(text, "--set training.epochs")
    (tmp_path / "pets.yaml").write_text(f"name: {text}")
    with pytest.raises(RecipeError, match=r"pets.yaml: is not YAML: "):
        load_recipe(tmp_path / "pets.yaml")


@pytest.mark.parametrize(
    ("backbone", "step"),
    [
        ("https://tfhub.dev/google/imagenet/mobilenet_v2_130_224/feature_vector/5", "value_range(0,1)"),
        ("keras.applications/MobileNetV2", "value_range(-1,1)"),
        ("keras.applications/MobileNetV3Small", ""),
        ("keras.applications/ResNet50", "caffe"),
        ("keras.applications/ResNet50V2", "value_range(-1,1)"),
        ("keras.applications/DenseNet121", "torch"),
        ("keras.applications/InceptionResNetV2", "value_range(-1,1)"),
        ("keras.applications/EfficientNetV2B0", ""),
    ],
)
def test_the_backbones_own_pixel_values_complete_the_preprocessing(backbone: str, step: str) -> None:
    assert transfer(backbone).pipeline == "|".join(filter(None, ["decode|resize(224)", step]))


@pytest.mark.parametrize("network", ["VGG16", "ResNet101", "Xception", "DenseNet169", "MobileNet", "NASNetMobile"])
def test_pixel_values_are_those_of_keras_own_function(network: str) -> None:
    import keras
    import numpy as np

    from vitrine_export.preprocessing import Preprocessing

    modules = {name.lower().replace("_", ""): name for name in dir(keras.applications)}
    start = next(
        key for key in ("vgg16", "resnet", "xception", "densenet", "mobilenet", "nasnet") if key in network.lower()
    )
    module = getattr(keras.applications, modules[start])
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3)).astype(np.float32)
    ours = Preprocessing(transfer(f"keras.applications/{network}", "decode|resize(8)").pipeline).values(pixels)
    np.testing.assert_allclose(ours, module.preprocess_input(pixels.copy()), atol=1e-4)


def test_pixel_values_given_twice_must_agree() -> None:
    backbone = "keras.applications/MobileNetV2"
    assert transfer(backbone, "decode|resize(224)|value_range(-1, 1)").pipeline.count("value_range") == 1
    with pytest.raises(ValueError, match=r"value_range\(0,1\) is not what keras.applications/MobileNetV2 expects"):
        transfer(backbone, "decode|resize(224)|value_range(0,1)")
    assert transfer(backbone, "decode|resize(224)|value_range(0,1)", input="zero_one").pipeline.count("range") == 1


def test_a_network_of_unknown_pixel_values_must_be_told() -> None:
    with pytest.raises(ValueError, match=r"the pixel values that keras.applications/Novel expects are not known"):
        transfer("keras.applications/Novel")


SEARCH = """\
name: pets
dataset: {path: PICTURES}
preprocessing: decode|resize(32)
model: {name: cnn, filters: 8, blocks: 1}
search: {space: {SPACE}}
"""


@pytest.mark.parametrize(
    ("space", "part"),
    [
        ("training.epoch: {choices: [1]}", "search.space.training.epoch: training.epoch: unknown key"),
        ("size: {choices: [1, 0], sets: [model.dense]}", "search.space.size: model.dense: 0: input should be greater"),
        ("training.learning_rate: {low: 1, high: 100}", "search.space.training.learning_rate"),
        ("training.learning_rate: {low: 1, high: 0.1}", "low must be below high"),
        (
            "training.epochs: {choices: [1], step: 2}",
            "search.space.training.epochs.step: unknown key; accepted here: choices",
        ),
        ("training.epochs: {low: 1}", "search.space.training.epochs.high: missing"),
        ("training.epochs: 5", "search.space.training.epochs: 5: must hold keys and values; accepted: choices"),
        ("training.epochs: [1, 2]", "search.space.training.epochs: [1, 2]: must hold keys and values"),
    ],
)
def test_a_search_space_is_checked_before_the_search(tmp_path: Path, space: str, part: str) -> None:
    (tmp_path / "pets.yaml").write_text(SEARCH.replace("SPACE", space).replace("PICTURES", str(tmp_path)))
    with pytest.raises(RecipeError) as caught:
        load_recipe(tmp_path / "pets.yaml")
    assert part in str(caught.value)
