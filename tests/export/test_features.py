"""Features are computed once for the same pictures, preprocessing and backbone, and are whole or not there."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hub_module import write_module

from vitrine_export.augmentation import Augmentation
from vitrine_export.datasets.index import DatasetIndex, Picture
from vitrine_export.features import Features, bottleneck, feature_batches
from vitrine_export.models.transfer import Backbone, load_backbone
from vitrine_export.preprocessing import Preprocessing
from vitrine_export.recipe import Transfer
from vitrine_export.staging import PREFIX

PREPROCESSING = Preprocessing("decode|resize(32)|value_range(-1,1)")
COUNT = 11


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Transfer:
    return Transfer(name="transfer", backbone=str(write_module(tmp_path_factory.mktemp("hub") / "module")))


@pytest.fixture(scope="module")
def backbone(config: Transfer) -> Backbone:
    return load_backbone(config, PREPROCESSING.output_shape)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory, encode: Callable[..., bytes]) -> DatasetIndex:
    root = tmp_path_factory.mktemp("pictures")
    for number in range(COUNT):
        (root / f"{number}.png").write_bytes(encode(seed=number))
    pictures = [Picture(f"{number}.png", "ab"[number % 2], f"{number:064}", "train") for number in range(COUNT)]
    return DatasetIndex(str(root), ("a", "b"), tuple(pictures), ())


def compute(backbone: Backbone, index: DatasetIndex, cache: Path, **options: object) -> Features:
    config = Transfer(name="transfer", backbone=backbone.folder)
    options = {"preprocessing": PREPROCESSING, "pictures": index.pictures, "config": config} | options
    return bottleneck(backbone=backbone, index=index, cache=cache, **options)


def entries(cache: Path) -> list[Path]:
    return sorted(cache.iterdir())


def test_features_are_the_backbones_and_are_used_again(
    backbone: Backbone, index: DatasetIndex, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = tf.stack([PREPROCESSING.from_bytes(index.file(picture).read_bytes()) for picture in index.pictures])
    first = compute(backbone, index, tmp_path)
    np.testing.assert_allclose(first.values, backbone(images), atol=1e-5)
    assert (first.reused, first.views, "reused" in capsys.readouterr().err) == (False, 0, False)
    second = compute(backbone, index, tmp_path)
    assert second.reused
    np.testing.assert_array_equal(first.values, second.values)
    [folder] = entries(tmp_path)
    assert capsys.readouterr().err == f"features reused from {folder}\n"


def test_what_makes_other_features_is_not_used_again(backbone: Backbone, index: DatasetIndex, tmp_path: Path) -> None:
    config = Transfer(name="transfer", backbone=backbone.folder)
    changed = load_backbone(config, PREPROCESSING.output_shape)
    changed.variables[0].assign_add(tf.ones_like(changed.variables[0].value))
    flip = Augmentation("flip")
    runs: list[dict[str, object]] = [
        {},
        {"pictures": index.pictures[::-1]},
        {"pictures": index.pictures[:-1]},
        {"preprocessing": Preprocessing("decode|resize(32)|value_range(0,1)")},
        {"backbone": changed},
        {"augmentation": flip, "views": 1},
        {"augmentation": flip, "views": 1, "seed": 1},
        {"augmentation": Augmentation("brightness(0.5)"), "views": 1},
    ]
    for number, options in enumerate(runs, 1):
        assert not compute(**({"backbone": backbone, "index": index, "cache": tmp_path} | options)).reused
        assert len(entries(tmp_path)) == number
    assert compute(backbone, index, tmp_path, augmentation=flip, views=0, seed=5).reused


def test_views_are_the_picture_and_its_augmented_copies(
    backbone: Backbone, index: DatasetIndex, tmp_path: Path
) -> None:
    plain = compute(backbone, index, tmp_path / "plain")
    augmentation = Augmentation("flip|brightness(0.5)")
    views = compute(backbone, index, tmp_path / "one", augmentation=augmentation, views=2)
    assert (views.views, views.values.shape) == (2, (3 * COUNT, backbone.width))
    np.testing.assert_allclose(views.values[:COUNT], plain.values, atol=1e-5)
    for view in (1, 2):
        rows = slice(view * COUNT, (view + 1) * COUNT)
        assert not np.isclose(views.values[rows], plain.values, atol=1e-3).all(axis=1).any()
        number = view * COUNT + 4
        image = augmentation(PREPROCESSING.geometry(index.file(index.pictures[4]).read_bytes()), [0, number])
        np.testing.assert_allclose(backbone(PREPROCESSING.values(image)[None])[0], views.values[number], atol=1e-5)
    again = compute(backbone, index, tmp_path / "other", augmentation=augmentation, views=2)
    np.testing.assert_array_equal(views.values, again.values)


@pytest.mark.parametrize("damage", ["cut", "flipped", "described"])
def test_damaged_features_are_computed_anew(
    backbone: Backbone, index: DatasetIndex, tmp_path: Path, damage: str
) -> None:
    expected = np.array(compute(backbone, index, tmp_path).values)
    [folder] = entries(tmp_path)
    content = (folder / "features.npy").read_bytes()
    if damage == "cut":
        (folder / "features.npy").write_bytes(content[:-100])
    elif damage == "flipped":
        (folder / "features.npy").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    else:
        (folder / "features.json").write_text("{")
    features = compute(backbone, index, tmp_path)
    assert not features.reused
    np.testing.assert_array_equal(features.values, expected)
    assert entries(tmp_path) == [folder]


_COMPUTE = """
import os, pathlib, signal, sys
from vitrine_export.datasets.index import DatasetIndex
from vitrine_export.features import bottleneck
from vitrine_export.models.transfer import load_backbone
from vitrine_export.preprocessing import Preprocessing
from vitrine_export.recipe import Transfer

config, spec, index, cache, killed = sys.argv[1:]
config, index, preprocessing = Transfer.model_validate_json(config), DatasetIndex.from_json(index), Preprocessing(spec)

def kill(event, arguments):
    if event == "os.rename":
        os.kill(os.getpid(), signal.SIGKILL)

if killed == "True":
    sys.addaudithook(kill)
backbone = load_backbone(config, preprocessing.output_shape)
bottleneck(config, backbone, index, index.pictures, preprocessing, pathlib.Path(cache))
"""


def test_a_killed_process_and_two_at_once(backbone: Backbone, index: DatasetIndex, tmp_path: Path) -> None:
    config = Transfer(name="transfer", backbone=backbone.folder)
    arguments = [config.model_dump_json(), PREPROCESSING.spec, index.to_json()]
    processes = [
        subprocess.Popen([sys.executable, "-c", _COMPUTE, *arguments, tmp_path / cache, str(cache == "killed")])
        for cache in ("killed", "two", "two")
    ]
    assert [process.wait() for process in processes] == [-9, 0, 0]
    [leftover] = (tmp_path / "killed").iterdir()
    assert leftover.name.startswith(PREFIX)
    after = compute(backbone, index, tmp_path / "killed")
    beside = compute(backbone, index, tmp_path / "two")
    assert (after.reused, beside.reused) == (False, True)
    np.testing.assert_array_equal(after.values, beside.values)
    assert [len(entries(tmp_path / cache)) for cache in ("killed", "two")] == [1, 1]


def features_of(count: int, views: int = 0) -> Features:
    rows = np.arange(count * (views + 1), dtype=np.float32)
    return Features(np.stack([rows, rows], axis=1), count)


def rows_of(dataset: tf.data.Dataset, batches: int) -> list[list[int]]:
    return [batch[0][:, 0].numpy().astype(int).tolist() for batch in dataset.take(batches)]


def test_batches_for_evaluation_are_the_pictures_in_order() -> None:
    dataset = feature_batches(features_of(5, views=2), [3, 1, 4, 1, 5], 2)
    assert dataset.cardinality() == 3
    assert rows_of(dataset, 99) == [[0, 1], [2, 3], [4]]
    assert [targets.numpy().tolist() for _, targets in dataset] == [[3, 1], [4, 1], [5]]


def test_batches_for_training_are_epochs_that_can_be_resumed() -> None:
    targets = [number % 3 for number in range(10)]
    dataset = feature_batches(features_of(10, views=1), targets, 4, seed=7)
    epochs = rows_of(dataset, 30)
    assert [len(batch) for batch in epochs] == [4, 4, 2] * 10
    orders = [[row for batch in epochs[at : at + 3] for row in batch] for at in range(0, 30, 3)]
    assert all(sorted(row % 10 for row in order) == list(range(10)) for order in orders)
    assert len({tuple(order) for order in orders}) == 10
    assert {row for order in orders for row in order} == set(range(20))
    assert rows_of(feature_batches(features_of(10, views=1), targets, 4, seed=7, first_epoch=4), 18) == epochs[12:]
    assert rows_of(feature_batches(features_of(10, views=1), targets, 4, seed=8), 3) != epochs[:3]


def test_weights_belong_to_their_pictures() -> None:
    dataset = feature_batches(features_of(6), [0, 1, 0, 1, 0, 1], 4, seed=0, class_weights={0: 0.5, 1: 2.0})
    for values, targets, weights in dataset.take(4):
        np.testing.assert_array_equal(targets, values[:, 0].numpy() % 2)
        np.testing.assert_array_equal(weights, np.where(targets.numpy() == 1, 2.0, 0.5))
