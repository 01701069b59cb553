"""Pictures of an index as a tf.data pipeline of (image, class number)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import tensorflow as tf

from vitrine_export.datasets.index import DatasetIndex, Picture
from vitrine_export.preprocessing import Preprocessing

_CACHE_BYTES = 1 << 30


def image_batches(
    index: DatasetIndex,
    pictures: Sequence[Picture],
    preprocessing: Preprocessing,
    batch_size: int,
    *,
    shuffle_seed: int | None = None,
) -> tf.data.Dataset:
    """Batches of (float32 [B, H, W, C], int32 [B]); in the order of `pictures` unless `shuffle_seed` is given.

    Preprocessed images are kept in memory where all of them fit into 1 GiB.
    """
    numbers = {label: number for number, label in enumerate(index.labels)}
    paths = [str(index.file(picture)) for picture in pictures]
    targets = [numbers[picture.label] for picture in pictures]
    dataset = tf.data.Dataset.from_tensor_slices((paths, tf.constant(targets, tf.int32)))
    cached = len(pictures) * math.prod(preprocessing.output_shape) * 4 <= _CACHE_BYTES
    if shuffle_seed is not None and not cached:
        dataset = dataset.shuffle(len(pictures), seed=shuffle_seed)
    dataset = dataset.map(
        lambda path, target: (preprocessing.from_bytes(tf.io.read_file(path)), target),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    if cached:
        dataset = dataset.cache()
        if shuffle_seed is not None:
            dataset = dataset.shuffle(len(pictures), seed=shuffle_seed)
    return dataset.batch(batch_size).prefetch(tf.data.AUTOTUNE)
