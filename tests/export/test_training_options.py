"""Every option of the recipe's section `training` does what it says."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from training_runs import equal_weights, few_pictures, recipe_for, started

from vitrine_export import training
from vitrine_export.datasets.index import DatasetIndex
from vitrine_export.datasets.prepare import prepare_dataset
from vitrine_export.errors import RecipeError, RunError
from vitrine_export.evaluation import probabilities_of
from vitrine_export.models import storage
from vitrine_export.preprocessing import Preprocessing
from vitrine_export.recipe import Recipe
from vitrine_export.training import precision
from vitrine_export.training.features import compute_features
from vitrine_export.training.optimizers import Schedule, build_optimizer
from vitrine_export.training.stopping import Plateau

FIT = """
import resource, sys
from pathlib import Path
from vitrine_export.datasets.prepare import prepare_dataset
from vitrine_export.errors import ExportError
from vitrine_export.preprocessing import Preprocessing
from vitrine_export.recipe import Recipe
from vitrine_export.training import fit

recipe = Recipe.model_validate_json(sys.argv[1])
preprocessing = Preprocessing(recipe.pipeline)
index = prepare_dataset(recipe.dataset, preprocessing)
# All that the process may ever use: what it has, and much more than all but the dense layer needs.
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (8 << 30),) * 2)
try:
    fit(recipe, index, preprocessing, cache=Path(sys.argv[2]))
except ExportError as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


@pytest.fixture(scope="module")
def pictures(digits_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return few_pictures(digits_folder, tmp_path_factory.mktemp("options") / "few")


def prepared(recipe: Recipe) -> tuple[DatasetIndex, Preprocessing]:
    preprocessing = Preprocessing(recipe.pipeline)
    return prepare_dataset(recipe.dataset, preprocessing), preprocessing


def fit(data: Path, values: Mapping[str, Any], **options: Any) -> tuple[keras.Model, dict[str, list[Any]]]:
    recipe = recipe_for(data, values)
    return training.fit(recipe, *prepared(recipe), cache=data.parent / "cache", quiet=True, **options)


def cross_entropy(network: keras.Model, recipe: Recipe) -> float:
    """Of the validation split, computed by other means than training's."""
    index, preprocessing = prepared(recipe)
    held_out = index.split("validation")
    probabilities = probabilities_of(network, index, held_out, preprocessing)
    truth = [index.labels.index(picture.label) for picture in held_out]
    return float(-np.log(probabilities[np.arange(len(truth)), truth]).mean())


@pytest.mark.parametrize(
    ("values", "rates"),
    [
        ({"training.schedule": "constant"}, [0.002, 0.002, 0.002, 0.002]),
        ({"training.schedule": "cosine"}, [0.002, 0.001707, 0.001, 0.000293]),
        ({"training.schedule": "constant", "training.warmup_epochs": 2}, [0.001, 0.002, 0.002, 0.002]),
    ],
)
def test_learning_rates(values: dict[str, Any], rates: list[float]) -> None:
    config = recipe_for(Path(), values | {"training.epochs": 4}).training
    schedule = Schedule(0.002, config.schedule, 4, config.warmup_epochs)
    assert [float(schedule(step)) for step in range(4)] == pytest.approx(rates, abs=1e-6)


def test_the_plateau_halves_after_three_epochs_without_gain() -> None:
    plateau = Plateau()
    factors = []
    for loss in (1.0, 0.9, 0.9, 0.95, 0.9, 0.8, 0.8, 0.8, 0.8):
        plateau.update(loss)
        factors.append(plateau.factor)
    assert factors == [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25]


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_weight_decay_is_for_kernels_alone(optimizer: str) -> None:
    config = recipe_for(Path(), {"training.optimizer": optimizer, "training.weight_decay": 0.5}).training
    kernel, bias = keras.Variable(np.ones((2, 2)), name="kernel"), keras.Variable(np.ones(2), name="bias")
    built = build_optimizer(config, Schedule(0.1, "constant", 1, 0), [kernel, bias])
    built.apply_gradients([(np.zeros((2, 2), np.float32), kernel), (np.zeros(2, np.float32), bias)])
    np.testing.assert_allclose(np.asarray(kernel), 0.95)
    np.testing.assert_array_equal(np.asarray(bias), 1)


def test_smoothing_and_class_weights_leave_val_loss_as_it_is(digits_folder: Path, tmp_path: Path) -> None:
    pictures = few_pictures(digits_folder, tmp_path / "few")
    for path in sorted((pictures / "3").iterdir())[4:]:
        path.unlink()
    values = {
        "training.label_smoothing": 0.3,
        "training.optimizer": "adamw",
        "training.weight_decay": 0.01,
        "dataset.balance": "weights",
        "training.schedule": "constant",
    }
    network, history = fit(pictures, values)
    assert history["val_loss"][-1] == pytest.approx(cross_entropy(network, recipe_for(pictures, values)), abs=1e-4)
    without, _ = fit(pictures, values | {"dataset.balance": "none"})
    assert not equal_weights(network, without)


def test_early_stopping_keeps_the_best_epoch(pictures: Path) -> None:
    # No gain is large enough after the first epoch, which therefore is the best.
    stopping = {"patience": 2, "min_delta": 100.0}
    values = {"training.epochs": 9, "training.early_stopping": stopping}
    network, history = fit(pictures, values)
    assert len(history["loss"]) == 3
    assert cross_entropy(network, recipe_for(pictures, values)) == pytest.approx(history["val_loss"][0], abs=1e-4)
    assert history["val_loss"][0] != history["val_loss"][-1]


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: str) -> None:
    # No GPU here: that there is one is pretended, float16 then computes on the CPU.
    monkeypatch.setattr(precision, "has_gpu", lambda: policy == "mixed_float16")
    seen = []

    class Policy(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            seen.append((keras.mixed_precision.dtype_policy().name, self.model.layers[1].compute_dtype))

    values = {"training.mixed_precision": True, "training.epochs": 4, "training.optimizer": "sgd"}
    network, history = fit(pictures, values, callbacks=[Policy()])
    assert seen == [(policy, policy.removeprefix("mixed_"))] * 4
    assert keras.mixed_precision.dtype_policy().name == "float32"
    assert history["loss"][-1] < history["loss"][0]
    storage.save(network, tmp_path)
    loaded = storage.load(tmp_path)
    assert {layer.compute_dtype for layer in loaded.layers} == {"float32"}
    assert cross_entropy(loaded, recipe_for(pictures, values)) == pytest.approx(history["val_loss"][-1], abs=0.02)


def test_a_head_on_features_then_the_backbone(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = {}

    class Keep(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            kept[epoch] = [weight.numpy() for weight in self.model.trainable_weights]

    backbone = {"backbone": "keras.applications/MobileNetV2", "weights": None, "arguments": {"alpha": 0.35}}
    recipe = recipe_for(
        pictures,
        {
            "preprocessing": "decode|resize(32)",
            "augmentation": "flip",
            "model": {"name": "transfer", "augmented_views": 1, **backbone},
            "training.fine_tune": {"epochs": 1, "layers": 2, "learning_rate": 0.01},
        },
    )
    computed = compute_features(recipe, tmp_path)
    training_pictures = len(prepared(recipe)[0].split("train"))
    assert (computed["rows"]["train"], computed["width"]) == (2 * training_pictures, 1280)
    capsys.readouterr()
    network, history = training.fit(recipe, *prepared(recipe), cache=tmp_path, callbacks=[Keep()])
    assert "features reused" in capsys.readouterr().err
    assert history["stage"] == ["head", "head", "fine_tune"]
    assert [len(kept[epoch]) for epoch in range(3)] == [2, 2, 4], "the head's kernel and bias, then two more"
    assert history["learning_rate"][2] == pytest.approx(0.01)
    assert history["val_loss"][-1] == pytest.approx(cross_entropy(network, recipe), abs=1e-4)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["features"]


def test_a_loss_that_is_no_number_any_more(pictures: Path) -> None:
    with pytest.raises(RunError, match=r"loss is (nan|inf) in epoch \d+; give a lower training.learning_rate"):
        fit(pictures, {"training.optimizer": "sgd", "training.learning_rate": 10.0, "training.epochs": 5})


def test_out_of_memory_comes_with_advice(pictures: Path, tmp_path: Path) -> None:
    recipe = recipe_for(
        pictures,
        {
            "preprocessing": "decode|resize(512)|grayscale|value_range(-1,1)",
            "model": {"name": "cnn", "filters": [2048], "dense": 64},
            "training.batch_size": 64,
        },
    )
    # The dense layer's kernel takes 256 x 256 x 2048 x 64 x 4 bytes = 32 GiB. Far beyond the limit: what runs out a
    # little later, in an allocation of a few bytes, ends TensorFlow with a segmentation fault instead of an error.
    process = started(FIT, recipe.model_dump_json(), tmp_path, environment=os.environ, output=tmp_path / "said")
    assert process.wait(300) == 1
    last = (tmp_path / "said").read_text().strip().splitlines()[-1]
    assert last == (
        "RunError: training failed: out of memory; in this order, try a smaller training.batch_size (it is 64), "
        "training.mixed_precision: true, a smaller resize(...) in preprocessing, dataset.cache: disk"
    )


def test_a_full_disk_is_not_taken_for_memory(pictures: Path) -> None:
    class Write(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            tf.io.write_file("/dev/full", "more than there is room for")

    with pytest.raises(RunError, match=r"^training failed: /dev/full; No space left on device$"):
        fit(pictures, {}, callbacks=[Write()])


def test_what_cannot_be_fine_tuned(pictures: Path) -> None:
    with pytest.raises(RecipeError, match=r"training.fine_tune: lenet has no backbone"):
        fit(pictures, {"training.fine_tune": {"epochs": 1}})
