"""Batches for training and evaluation: every picture once an epoch, the same after a resume, whatever is cached."""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import subprocess
import sys
from collections import Counter, namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from vitrine_export.augmentation import Augmentation
from vitrine_export.datasets import decoded_cache, pipeline
from vitrine_export.datasets.index import DatasetIndex, Picture
from vitrine_export.datasets.pipeline import image_batches, training_batches
from vitrine_export.errors import DatasetError
from vitrine_export.preprocessing import Preprocessing

KINDS = ("none", "memory", "disk")
COUNT, BATCH, STEPS = 11, 4, 3
PREPROCESSING = Preprocessing("decode|resize(6,5)|value_range(-1,1)")
AUGMENTATION = Augmentation("flip|rotate(20)|shift(0.1)|brightness(0.2)|cutout(0.3)")
Batch = tuple[np.ndarray[Any, Any], ...]


def write_index(folder: Path, encode: Callable[..., bytes], formats: dict[str, str]) -> DatasetIndex:
    pictures = []
    for number, (suffix, format) in zip(range(COUNT), itertools.cycle(formats.items())):
        data = encode("RGB", format, seed=number)
        label = "ab"[number % 2]
        (folder / label).mkdir(parents=True, exist_ok=True)
        (folder / label / f"{number}{suffix}").write_bytes(data)
        pictures.append(Picture(f"{label}/{number}{suffix}", label, hashlib.sha256(data).hexdigest(), "train"))
    return DatasetIndex(str(folder), ("a", "b"), tuple(pictures), ())


@pytest.fixture
def index(tmp_path: Path, encode) -> DatasetIndex:
    return write_index(tmp_path / "pictures", encode, {".png": "PNG"})


def epochs(index: DatasetIndex, count: int, **options: Any) -> list[list[Batch]]:
    batches = training_batches(index, index.pictures, PREPROCESSING, BATCH, **{"seed": 7, **options})
    taken = batches.take(count * STEPS).as_numpy_iterator()
    return [[next(taken) for _ in range(STEPS)] for _ in range(count)]


def assert_same(found: list[list[Batch]], expected: list[list[Batch]]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(itertools.chain(*found), itertools.chain(*expected), strict=True):
        for part, other_part in zip(one, other, strict=True):
            np.testing.assert_array_equal(part, other_part)


@pytest.mark.parametrize("cache", KINDS)
def test_a_resumed_run_sees_what_the_interrupted_one_would_have(index, tmp_path: Path, cache: str) -> None:
    options = {"augmentation": AUGMENTATION, "class_weights": {"a": 2.0, "b": 0.5}}
    whole = epochs(index, 5, cache="none", **options)
    assert_same(epochs(index, 5, cache=cache, cache_folder=tmp_path, **options), whole)
    assert_same(epochs(index, 2, first_epoch=3, cache=cache, cache_folder=tmp_path, **options), whole[3:])


@pytest.mark.parametrize("formats", [{".png": "PNG"}, {".jpg": "JPEG"}, {".png": "PNG", ".jpg": "JPEG", ".gif": "GIF"}])
def test_an_epoch_is_every_picture_once_in_an_order_of_its_own(tmp_path: Path, encode, formats) -> None:
    index = write_index(tmp_path, encode, formats)
    images = {
        PREPROCESSING.from_bytes(index.file(picture).read_bytes()).numpy().tobytes(): number
        for number, picture in enumerate(index.pictures)
    }
    orders = []
    for epoch in epochs(index, 3) + epochs(index, 1, seed=8):
        assert [len(labels) for _, labels in epoch] == [4, 4, 3]
        orders.append([images[image.tobytes()] for batch, _ in epoch for image in batch])
        assert sorted(orders[-1]) == list(range(COUNT))
        assert [label for _, labels in epoch for label in labels] == [number % 2 for number in orders[-1]]
    assert len(set(map(tuple, orders))) == 4


def test_augmentation_changes_each_picture_anew_in_every_epoch(index) -> None:
    seen = [batch for epoch in epochs(index, 3, augmentation=AUGMENTATION) for batch, _ in epoch]
    images = np.concatenate(seen)
    assert len(np.unique(images, axis=0)) == 3 * COUNT
    assert images.min() >= -1 and images.max() <= 1


def test_class_weights_come_with_the_batches(index) -> None:
    for _, labels, weights in epochs(index, 1, class_weights={"a": 3.0, "b": 0.25})[0]:
        assert weights.dtype == np.float32
        np.testing.assert_array_equal(weights, np.where(labels == 0, 3.0, 0.25))


@pytest.mark.parametrize("cache", KINDS)
def test_evaluation_goes_once_through_in_the_order_of_the_pictures(index, tmp_path: Path, cache: str) -> None:
    pictures = index.pictures[::-1]
    batches = image_batches(index, pictures, PREPROCESSING, BATCH, cache=cache, cache_folder=tmp_path)
    expected = [PREPROCESSING.from_bytes(index.file(picture).read_bytes()).numpy() for picture in pictures]
    for _ in range(2):
        images, labels = zip(*batches.as_numpy_iterator(), strict=True)
        np.testing.assert_array_equal(np.concatenate(images), expected)
        assert np.concatenate(labels).tolist() == ["ab".index(picture.label) for picture in pictures]


@pytest.mark.parametrize("cache", KINDS)
def test_the_first_step_does_not_wait_for_the_last_picture(index, tmp_path: Path, cache: str) -> None:
    """A picture that cannot be decoded fails the step that needs it, so the steps before did not."""
    options = {"cache": cache, "cache_folder": tmp_path}
    names = {index.file(p).read_bytes(): p for p in index.pictures}
    labels = [labels for _, labels in epochs(index, 1, cache="none")[0]]
    order = tf.random.experimental.stateless_shuffle(tf.range(COUNT), [7, 0]).numpy()
    last = index.pictures[order[-1]]
    assert len(names) == COUNT
    index.file(last).write_bytes(b"broken")
    batches = iter(training_batches(index, index.pictures, PREPROCESSING, BATCH, seed=7, **options))
    for expected in labels[:-1]:
        np.testing.assert_array_equal(next(batches)[1], expected)
    with pytest.raises(tf.errors.InvalidArgumentError):
        next(batches)


def cached_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_decoded_pictures_on_disk_serve_the_next_run_and_other_values(index, tmp_path: Path) -> None:
    expected = epochs(index, 2, cache="disk", cache_folder=tmp_path / "cache")
    files = cached_files(tmp_path / "cache")
    assert len(files) == COUNT
    shutil.rmtree(index.root)
    assert_same(epochs(index, 2, cache="disk", cache_folder=tmp_path / "cache"), expected)
    other = Preprocessing("decode | resize(6, 5) | value_range(0, 1)")
    images = training_batches(
        index, index.pictures, other, BATCH, seed=7, cache="disk", cache_folder=tmp_path / "cache"
    )
    first = next(images.as_numpy_iterator())[0]
    np.testing.assert_allclose(first, (expected[0][0][0] + 1) / 2, atol=1e-6)
    assert cached_files(tmp_path / "cache") == files


def test_another_geometry_is_decoded_anew(index, tmp_path: Path) -> None:
    epochs(index, 1, cache="disk", cache_folder=tmp_path / "cache")
    smooth = Preprocessing("decode|resize(6,5,antialias=True)|value_range(-1,1)")
    options = {"cache": "disk", "cache_folder": tmp_path / "cache"}
    images = [images for images, _ in image_batches(index, index.pictures, smooth, BATCH, **options)]
    expected = [smooth.from_bytes(index.file(picture).read_bytes()) for picture in index.pictures]
    np.testing.assert_array_equal(tf.concat(images, 0), expected)


@pytest.mark.parametrize("damage", ["cut", "zeros"])
def test_a_damaged_file_of_the_cache_is_not_used(index, tmp_path: Path, damage: str) -> None:
    expected = epochs(index, 2, cache="disk", cache_folder=tmp_path / "cache")
    for path in cached_files(tmp_path / "cache")[::2]:
        size = path.stat().st_size
        os.truncate(path, size // 2)
        if damage == "zeros":
            os.truncate(path, size)
    assert_same(epochs(index, 2, cache="disk", cache_folder=tmp_path / "cache"), expected)


def test_the_same_picture_twice_is_kept_once(tmp_path: Path, encode) -> None:
    index = write_index(tmp_path / "pictures", encode, {".png": "PNG"})
    twice = DatasetIndex(index.root, index.labels, index.pictures[:1] * 6 + index.pictures[:5], ())
    expected = epochs(twice, 3, cache="none")
    assert_same(epochs(twice, 3, cache="disk", cache_folder=tmp_path / "cache"), expected)
    assert len(cached_files(tmp_path / "cache")) == 5


def test_a_cache_that_cannot_be_kept_is_refused_with_the_way_out(index, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DatasetError, match=r"file.*: Not a directory; give dataset.cache: memory or none"):
        epochs(index, 1, cache="disk", cache_folder=tmp_path / "file")
    # A full disk cannot be had here.
    monkeypatch.setattr(decoded_cache.shutil, "disk_usage", lambda _: namedtuple("usage", "free")(1000))
    with pytest.raises(
        DatasetError, match=r"11 decoded pictures take 0\.0 GB and 0\.0 GB are free; make room, or give"
    ):
        epochs(index, 1, cache="disk", cache_folder=tmp_path / "cache")


def test_auto_keeps_in_memory_what_fits_and_the_rest_on_disk(index, tmp_path: Path, monkeypatch) -> None:
    expected = epochs(index, 2, cache_folder=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
    monkeypatch.setattr(pipeline, "MEMORY_BYTES", COUNT * 6 * 5 * 3 * 4 - 1)
    assert_same(epochs(index, 2, cache_folder=tmp_path / "cache"), expected)
    assert len(cached_files(tmp_path / "cache")) == COUNT


WORKER = """
import json, os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
from pathlib import Path
from vitrine_export.datasets.index import DatasetIndex
from vitrine_export.datasets.pipeline import training_batches
from vitrine_export.preprocessing import Preprocessing
index = DatasetIndex.from_json(Path(sys.argv[1]).read_text())
preprocessing = Preprocessing("decode|resize(6,5)|value_range(-1,1)")
options = {"cache": "disk", "cache_folder": Path(sys.argv[2])}
for batch in training_batches(index, index.pictures, preprocessing, 1, seed=7, **options):
    print("batch", flush=True)
"""


def test_a_killed_process_and_two_at_a_time_leave_a_sound_cache(index, tmp_path: Path) -> None:
    expected = epochs(index, 3, cache="none")
    (tmp_path / "index.json").write_text(index.to_json())
    command = [sys.executable, "-c", WORKER, str(tmp_path / "index.json"), str(tmp_path / "cache")]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        assert workers[0].stdout.readline() == workers[1].stdout.readline() == "batch\n"
        workers[0].kill()
        workers[0].wait()
        assert_same(epochs(index, 3, cache="disk", cache_folder=tmp_path / "cache"), expected)
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()
    sizes = Counter(path.stat().st_size for path in cached_files(tmp_path / "cache"))
    assert sizes.most_common(1)[0][0] == 6 * 5 * 3 * 4 + 8


DISTRIBUTED = """
import json, os, socket, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
from pathlib import Path
import keras, numpy as np, tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2)
with socket.socket() as free:
    free.bind(("localhost", 0))
    port = free.getsockname()[1]
os.environ["TF_CONFIG"] = json.dumps(
    {"cluster": {"worker": [f"localhost:{port}"]}, "task": {"type": "worker", "index": 0}})
several = tf.distribute.MultiWorkerMirroredStrategy()
from vitrine_export.augmentation import Augmentation
from vitrine_export.datasets.decoded_cache import _temporary_root
from vitrine_export.datasets.index import DatasetIndex
from vitrine_export.datasets.pipeline import image_batches, training_batches
from vitrine_export.preprocessing import Preprocessing
index = DatasetIndex.from_json(Path(sys.argv[1]).read_text())
preprocessing = Preprocessing("decode|resize(6,5)|value_range(-1,1)")

def batches(kind):
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    training = training_batches(index, index.pictures, preprocessing, 4, seed=7, cache=kind,
                                augmentation=Augmentation("flip|rotate(9)"), class_weights={"a": 1.0, "b": 2.0})
    return training.with_options(options), image_batches(index, index.pictures, preprocessing, 4).with_options(options)

single = batches("memory")[0]
for kind in ("memory", "disk", "none"):
    with several.scope():
        distributed = several.experimental_distribute_dataset(batches(kind)[0])
    for (images, labels, _), expected in zip(distributed, single.take(7)):
        np.testing.assert_array_equal(tf.concat(several.experimental_local_results(images), 0), expected[0])
del os.environ["TF_CONFIG"]
mirrored = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with mirrored.scope():
    network = keras.Sequential([keras.Input((6, 5, 3)), keras.layers.Flatten(), keras.layers.Dense(2)])
    network.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False)
    training, validation = batches("disk")
    history = network.fit(training, steps_per_epoch=3, epochs=3, validation_data=validation, verbose=0).history
assert len(history["val_loss"]) == 3 and np.isfinite(history["loss"]).all(), history
print(_temporary_root().name)
"""


def test_keras_trains_from_it_under_distribution_strategies(index, tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text(index.to_json())
    command = [sys.executable, "-c", DISTRIBUTED, str(tmp_path / "index.json")]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr[-3000:]
    temporary = Path(finished.stdout.strip())
    assert temporary.is_absolute() and not temporary.exists()
