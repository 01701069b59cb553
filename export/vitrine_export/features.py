"""What a frozen backbone makes of every picture, computed once and kept on disk for all later runs."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from vitrine_export.augmentation import Augmentation
from vitrine_export.datasets.index import DatasetIndex, Picture
from vitrine_export.datasets.pipeline import image_batches
from vitrine_export.digests import sha256_of
from vitrine_export.errors import RunError
from vitrine_export.models.transfer import Backbone
from vitrine_export.preprocessing import Preprocessing
from vitrine_export.recipe import Transfer
from vitrine_export.staging import staging_folder

_ARRAY, _META = "features.npy", "features.json"
# What Python hands to TensorFlow at a time: enough that what a call costs does not count, and little memory.
_CHUNK_BYTES, _CHUNK_BATCHES = 16 << 20, 64


@dataclass(frozen=True)
class Features:
    """Features of n pictures, float32 [(views + 1) * n, D], mapped from disk: rows i, i + n ... are picture i."""

    values: np.ndarray[Any, np.dtype[np.float32]]
    pictures: int
    """n."""
    reused: bool = False
    """They had been computed before."""

    @property
    def views(self) -> int:
        """Augmented copies of each picture, beside the picture itself."""
        return len(self.values) // self.pictures - 1


def bottleneck(
    config: Transfer,
    backbone: Backbone,
    index: DatasetIndex,
    pictures: Sequence[Picture],
    preprocessing: Preprocessing,
    cache: Path,
    *,
    augmentation: Augmentation | None = None,
    views: int = 0,
    seed: int = 0,
) -> Features:
    """What `backbone` makes of `pictures`, from `cache` where it is there already, else computed and put there.

    View 0 is the picture itself; views 1, 2 ... are augmented, as `seed`, the view and the picture's number say. The
    cache knows the content of the pictures, preprocessing, backbone with its weights, and with views the augmentation,
    their number and `seed`: where all are the same, so are the features. Raises RunError where `cache` cannot be
    written, tf.errors.OpError for a picture that cannot be read any more.
    """
    if augmentation is None:
        views = 0
    key = {
        "pictures": _sha256("\n".join(picture.sha256 for picture in pictures).encode()),
        "preprocessing": preprocessing.spec,
        "backbone": _identity(config, backbone),
        "augmentation": augmentation.spec if augmentation and views else "",
        "views": views,
        "seed": seed if views else 0,
    }
    folder = cache / _sha256(json.dumps(key, sort_keys=True).encode())[:32]
    shape = (len(pictures) * (views + 1), backbone.width)
    found = _read(folder, shape)
    if found is not None:
        sys.stderr.write(f"features reused from {folder}\n")
        return Features(found, len(pictures), reused=True)
    if augmentation and views:
        batches = _all_views(index, pictures, preprocessing, augmentation, views, seed)
    else:
        rows = tf.data.Dataset.range(len(pictures)).batch(extraction_batch())
        images = image_batches(index, pictures, preprocessing, extraction_batch(), cache="none")
        batches = tf.data.Dataset.zip((rows, images.map(lambda images, _: images))).prefetch(2)
    try:
        with staging_folder(cache) as staging:
            fresh = staging / "new"
            fresh.mkdir()
            _compute(backbone, batches, preprocessing.output_shape, shape, fresh / _ARRAY)
            described = json.dumps(key | {"sha256": sha256_of(fresh / _ARRAY)}, indent=1)
            (fresh / _META).write_text(described, encoding="utf-8")
            _put(fresh, folder, shape, staging / "damaged")
    except OSError as error:
        raise RunError(f"cannot write features to {cache}: {error.strerror or error}") from None
    found = _read(folder, shape)
    if found is None:
        raise RunError(f"{folder}: what was written cannot be read again; is the disk in order?")
    return Features(found, len(pictures))


def feature_batches(
    features: Features,
    targets: Sequence[int],
    batch_size: int,
    *,
    seed: int | None = None,
    first_epoch: int = 0,
    class_weights: Mapping[int, float] | None = None,
) -> tf.data.Dataset:
    """Batches of (float32 [B, D], int32 [B]) and, with `class_weights` (by class number), of weights float32 [B].

    `targets` are the class numbers of the n pictures. Without `seed`: view 0 of each, once, in their order. With it:
    endless, epoch `first_epoch` and on, each of ceil(n / B) batches in an order that depends on `seed` and the epoch's
    number alone. An epoch has each picture once, in one of its views, so an epoch is as long as without views.
    """
    count, width = features.pictures, features.values.shape[1]
    numbers = np.asarray(targets, np.int32)
    columns = [numbers]
    if class_weights is not None:
        columns.append(np.array([class_weights.get(int(number), 1.0) for number in numbers], np.float32))
    most = max(min(_CHUNK_BYTES // (4 * width * batch_size), _CHUNK_BATCHES), 1)

    def chunks() -> Iterator[tuple[np.ndarray[Any, Any], ...]]:
        for batches in _chunks(_orders(features, seed, first_epoch), batch_size, most):
            rows = np.concatenate(batches)
            ends = np.cumsum([len(batch) for batch in batches])
            yield ends, features.values[rows], *(column[rows % count] for column in columns)

    specs = [tf.TensorSpec([None, width], tf.float32), *(tf.TensorSpec([None], column.dtype) for column in columns)]
    signature = (tf.TensorSpec([None], tf.int64), *specs)
    dataset = tf.data.Dataset.from_generator(chunks, output_signature=signature).flat_map(_split)
    if seed is None:
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(-(-count // batch_size)))
    return dataset.prefetch(tf.data.AUTOTUNE)


def _orders(features: Features, seed: int | None, epoch: int) -> Iterator[np.ndarray[Any, Any]]:
    """The rows of one epoch after the other."""
    count = features.pictures
    if seed is None:
        yield np.arange(count)
        return
    while True:
        random = np.random.default_rng([seed, epoch])
        yield random.permutation(count) + count * random.integers(0, features.views + 1, count)
        epoch += 1


def _chunks(orders: Iterator[np.ndarray[Any, Any]], batch_size: int, most: int) -> Iterator[list[np.ndarray[Any, Any]]]:
    """The batches of all `orders`, `most` at a time."""
    together: list[np.ndarray[Any, Any]] = []
    for order in orders:
        for start in range(0, len(order), batch_size):
            together.append(order[start : start + batch_size])
            if len(together) == most:
                yield together
                together = []
    if together:
        yield together


def _split(ends: tf.Tensor, *parts: tf.Tensor) -> tf.data.Dataset:
    """Batches of `parts`, the first up to the first of `ends`, and so on."""
    bounds = tf.data.Dataset.from_tensor_slices((tf.concat([[0], ends[:-1]], 0), ends))
    return bounds.map(lambda start, end: tuple(part[start:end] for part in parts))


def extraction_batch() -> int:
    """Pictures that the backbone sees at a time."""
    # On a processor, what a small batch makes in between stays in its caches; a GPU is idle with so few.
    return 64 if tf.config.list_logical_devices("GPU") else 8


def _all_views(
    index: DatasetIndex,
    pictures: Sequence[Picture],
    preprocessing: Preprocessing,
    augmentation: Augmentation,
    views: int,
    seed: int,
) -> tf.data.Dataset:
    """Batches of (rows, images): each picture is decoded once for all its views."""
    count = len(pictures)
    paths = tf.data.Dataset.from_tensor_slices([str(index.file(picture)) for picture in pictures])

    def decode(number: tf.Tensor, path: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return number, preprocessing.geometry(tf.io.read_file(path))

    def rows_of(number: tf.Tensor, image: tf.Tensor) -> tf.data.Dataset:
        return tf.data.Dataset.range(views + 1).map(lambda view: (view * count + number, image))

    def changed(rows: tf.Tensor, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        seeds = tf.stack([tf.fill(tf.shape(rows), tf.constant(seed, tf.int64)), rows], axis=1)
        plain = (rows < count)[:, tf.newaxis, tf.newaxis, tf.newaxis]
        return rows, preprocessing.values(tf.where(plain, images, augmentation.batch(images, seeds)))

    decoded = paths.enumerate().map(decode, num_parallel_calls=tf.data.AUTOTUNE)
    batches = decoded.flat_map(rows_of).batch(extraction_batch())
    return batches.map(changed, num_parallel_calls=tf.data.AUTOTUNE).prefetch(2)


def _compute(
    backbone: Backbone, batches: tf.data.Dataset, image: tuple[int, ...], shape: tuple[int, int], file: Path
) -> None:
    values = np.lib.format.open_memmap(file, "w+", np.float32, shape)
    run = tf.function(backbone, [tf.TensorSpec([None, *image], tf.float32)], autograph=False)
    with tqdm(total=shape[0], desc="features", unit="picture", disable=None) as bar:
        for rows, images in batches:
            values[rows.numpy()] = run(images).numpy()
            bar.update(len(rows))
    values.flush()


def _put(fresh: Path, folder: Path, shape: tuple[int, int], aside: Path) -> None:
    """Rename `fresh` to `folder`, unless another process was quicker."""
    if _read(folder, shape) is not None:
        return
    if folder.exists():
        folder.rename(aside)
    try:
        fresh.rename(folder)
    except OSError:
        if _read(folder, shape) is None:
            raise


def _identity(config: Transfer, backbone: Backbone) -> str:
    """Of what the backbone computes: its kind, the values of its weights, and the libraries that compute."""
    digest = hashlib.sha256(backbone.description().encode())
    described = [config.pooling, backbone.compute_dtype, keras.__version__, tf.__version__]
    digest.update(json.dumps(described).encode())
    for variable in backbone.variables:
        digest.update(np.ascontiguousarray(variable.numpy()).data)
    return digest.hexdigest()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _read(folder: Path, shape: tuple[int, int]) -> np.ndarray[Any, np.dtype[np.float32]] | None:
    """The array in `folder`, mapped; None where it is missing or not what was written."""
    try:
        expected = json.loads((folder / _META).read_text(encoding="utf-8"))["sha256"]
        if sha256_of(folder / _ARRAY) != expected:
            return None
        values = np.load(folder / _ARRAY, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return values if values.shape == shape and values.dtype == np.float32 else None
