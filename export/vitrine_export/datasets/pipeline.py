"""Pictures of an index as a tf.data pipeline of (images, class numbers)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import tensorflow as tf

from vitrine_export.augmentation import Augmentation
from vitrine_export.datasets.decoded_cache import DiskCache, MemoryCache
from vitrine_export.datasets.index import DatasetIndex, Picture
from vitrine_export.decoding import Format
from vitrine_export.preprocessing import Preprocessing

Cache = Literal["auto", "memory", "disk", "none"]
MEMORY_BYTES = 1 << 30
"""`auto` keeps decoded pictures in memory up to so many bytes."""
_LAST_EPOCH = 2**31 - 1
_FORMATS: dict[str, Format] = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG"}


def image_batches(
    index: DatasetIndex,
    pictures: Sequence[Picture],
    preprocessing: Preprocessing,
    batch_size: int,
    *,
    cache: Cache = "auto",
    cache_folder: Path | None = None,
) -> tf.data.Dataset:
    """Batches of (float32 [B, H, W, C], int32 [B]), once through in the order of `pictures`.

    `cache` says where decoded pictures are kept for the next time through, as dataset.cache of a recipe does; on
    disk, below `cache_folder`, or in a temporary folder. Raises DatasetError where they cannot be kept there.
    """
    source = _Source(index, pictures, preprocessing, cache, cache_folder)
    batches = _map(
        source.batches(tf.range(len(pictures)), batch_size),
        lambda images, places: (preprocessing.values(images), tf.gather(source.targets, places)),
    )
    # In a fixed order whole batches can be kept, ready for use.
    return (batches.cache() if source.cache == "memory" else batches).prefetch(tf.data.AUTOTUNE)


def training_batches(
    index: DatasetIndex,
    pictures: Sequence[Picture],
    preprocessing: Preprocessing,
    batch_size: int,
    *,
    seed: int,
    first_epoch: int = 0,
    augmentation: Augmentation | None = None,
    class_weights: Mapping[str, float] | None = None,
    cache: Cache = "auto",
    cache_folder: Path | None = None,
) -> tf.data.Dataset:
    """Endless batches of (float32 [B, H, W, C], int32 [B]), with `class_weights` also of sample weights, float32 [B].

    Epochs `first_epoch`, `first_epoch` + 1, ...: each has every picture once, ceil(len(pictures) / B) batches, in an
    order and with random changes that depend on `seed` and the epoch's number alone. `cache` is as in `image_batches`.
    """
    source = _Source(index, pictures, preprocessing, cache, cache_folder)
    weights = tf.constant([(class_weights or {}).get(picture.label, 1.0) for picture in pictures], tf.float32)

    def order(epoch: tf.Tensor) -> tf.Tensor:
        return tf.random.experimental.stateless_shuffle(tf.range(len(pictures)), tf.stack([seed, epoch]))

    def decoded(epoch: tf.Tensor) -> tf.data.Dataset:
        """Batches of (images, places, epoch)."""
        batches = source.batches(order(epoch), batch_size)
        return _map(batches, lambda images, places: (images, places, epoch), parallel=False)

    def remembered(epoch: tf.Tensor) -> tf.data.Dataset:
        batches = tf.data.Dataset.from_tensor_slices(order(epoch)).batch(batch_size)
        return _map(batches, lambda places: (places, epoch), parallel=False)

    def finish(images: tf.Tensor, places: tf.Tensor, epoch: tf.Tensor) -> Any:
        if augmentation is not None:
            # Places fit into the lower half of 64 bits.
            own = tf.cast(places, tf.int64) + epoch * 2**32
            images = augmentation.batch(images, tf.stack([tf.fill(tf.shape(own), tf.constant(seed, tf.int64)), own], 1))
        parts = (preprocessing.values(images), tf.gather(source.targets, places))
        return parts if class_weights is None else (*parts, tf.gather(weights, places))

    # The first epoch stands apart because TensorFlow does not optimise what is inside a flat_map, and because the
    # second of two concatenated datasets starts when all that the first has to store is stored.
    first, epochs = decoded(tf.constant(first_epoch, tf.int64)), tf.data.Dataset.range(first_epoch + 1, _LAST_EPOCH)
    if source.cache == "memory":
        memory = MemoryCache(len(pictures), preprocessing.geometry_shape)
        first = _map(first, lambda images, places, epoch: (memory.store(images, places), places, epoch), parallel=False)
        later = _map(
            epochs.flat_map(_as_written(remembered)),
            lambda places, epoch: finish(memory.load(places), places, epoch),
        )
    else:
        later = _map(epochs.flat_map(_as_written(decoded)), finish)
    return _map(first, finish).concatenate(later).prefetch(tf.data.AUTOTUNE)


def _map(dataset: tf.data.Dataset, function: Callable[..., Any], parallel: bool = True) -> tf.data.Dataset:
    return dataset.map(_as_written(function), num_parallel_calls=tf.data.AUTOTUNE if parallel else None)


def _as_written(function: Callable[..., Any]) -> Callable[..., Any]:
    """Without AutoGraph, which has nothing to rewrite here and takes as long as some epochs."""
    unchanged: Callable[..., Any] = tf.autograph.experimental.do_not_convert(function)
    return unchanged


class _Source:
    """The pictures by their places in a sequence: class numbers in `targets`, int32, and images by `batches`."""

    def __init__(
        self,
        index: DatasetIndex,
        pictures: Sequence[Picture],
        preprocessing: Preprocessing,
        cache: Cache,
        cache_folder: Path | None,
    ) -> None:
        numbers = {label: number for number, label in enumerate(index.labels)}
        self.targets = tf.constant([numbers[picture.label] for picture in pictures], tf.int32)
        self._files = tf.constant([str(index.file(picture)) for picture in pictures], tf.string)
        self._preprocessing = preprocessing
        formats = {_FORMATS.get(PurePosixPath(picture.path).suffix.lower()) for picture in pictures}
        # Pictures of an index have all been decoded when it was made.
        self._format = formats.pop() if len(formats) == 1 else None
        shape = preprocessing.geometry_shape
        if cache == "auto":
            cache = "memory" if len(pictures) * math.prod(shape) * 4 <= MEMORY_BYTES else "disk"
        self.cache = cache
        self._disk = DiskCache(cache_folder, preprocessing.geometry_spec, pictures, shape) if cache == "disk" else None

    def batches(self, places: tf.Tensor, size: int) -> tf.data.Dataset:
        """(images after the geometry, places) of `size` of `places`, int32 [N], at a time."""
        numbers = tf.data.Dataset.from_tensor_slices(places)
        disk = self._disk
        if disk:
            loaded = _map(numbers, lambda place: disk.load(place, lambda: self._decode(self._files[place])))
            images = _map(tf.data.Dataset.zip((loaded, numbers)), disk.store, parallel=False)
        else:
            images = _map(tf.data.Dataset.from_tensor_slices(tf.gather(self._files, places)), self._decode)
        # Side by side: all that goes through the parallel decoding costs time for each picture.
        return tf.data.Dataset.zip((images.batch(size), numbers.batch(size)))

    def _decode(self, file: tf.Tensor) -> tf.Tensor:
        return self._preprocessing.geometry(tf.io.read_file(file), self._format)
