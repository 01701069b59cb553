"""Features of a frozen backbone: what computing them costs beside the bare forward pass, and what keeping them saves.

What is compared runs in turns in one process, so only the ratios count.

examples:
  python -m benchmarks.features --data DATA
  python -m benchmarks.features --data DATA --module mobilenet_v2_100_224_feature_vector --rounds 5

DATA holds flowers/CLASS/*.jpg and weights/hub/MODULE.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

from benchmarks import page
from vitrine_export.augmentation import Augmentation
from vitrine_export.datasets.index import DatasetIndex, Picture
from vitrine_export.datasets.pipeline import image_batches
from vitrine_export.features import Features, bottleneck, extraction_batch, feature_batches
from vitrine_export.models import transfer
from vitrine_export.models.transfer import Backbone
from vitrine_export.preprocessing import Preprocessing
from vitrine_export.recipe import Transfer
from vitrine_serving.embedded.cpus import available_cpus

SIDE, BATCH, EPOCHS, VIEWS = 224, 32, 20, 4
# The pictures so many times over stand for a larger data set.
TIMES = 10
PREPROCESSING = Preprocessing(f"decode|resize({SIDE},antialias=True)|value_range(0,1)")
MODULES = ("mobilenet_v2_035_224_feature_vector", "mobilenet_v2_100_224_feature_vector")


def main() -> None:
    options = _options()
    index = _index(options.data / "flowers", options.pictures)
    lines = [
        f"{len(index.pictures)} pictures of {SIDE}x{SIDE}, {available_cpus()} cores, TensorFlow {tf.__version__};",
        f"medians of {options.rounds} rounds; bare: the module on decoded pictures in memory, in batches of {BATCH};",
        f"smaller batches, and ours: {extraction_batch()}",
    ]
    for module in options.module or MODULES:
        config = Transfer(name="transfer", backbone=str(options.data / "weights" / "hub" / module))
        backbone = transfer.load_backbone(config, PREPROCESSING.output_shape)
        with tempfile.TemporaryDirectory() as folder:
            caches = (Path(folder, str(number)) for number in range(10**6))
            lines += ["", module, *_extraction(config, backbone, index, caches, options.rounds)]
            lines += _training(config, backbone, index, caches, options.rounds)
    print("\n".join(lines))
    if options.write:
        page.write(options.write, "\n".join(["```", *lines, "```"]))


def _extraction(
    config: Transfer, backbone: Backbone, index: DatasetIndex, caches: Iterator[Path], rounds: int
) -> list[str]:
    """Each from a module that is loaded to features of all pictures, tracing included."""
    decoded = np.concatenate([images for images, _ in _decoded(index)])

    def bare(size: int) -> None:
        module = backbone.module
        run = tf.function(lambda images: module(images, training=False), autograph=False)
        for start in range(0, len(decoded), size):
            run(tf.constant(decoded[start : start + size])).numpy()

    times = _in_turns(
        {
            "bare": lambda: bare(BATCH),
            "bare, in smaller batches": lambda: bare(extraction_batch()),
            "decoding alone": lambda: [None for _ in _decoded(index)],
            "features from files": lambda: _features(config, backbone, index, next(caches)),
        },
        rounds,
    )
    each = {what: seconds / len(index.pictures) * 1e3 for what, seconds in times.items()}
    lines = [f"  {what:28} {ms:8.2f} ms a picture, {ms / each['bare']:5.2f} of bare" for what, ms in each.items()]
    both = each["bare, in smaller batches"] + each["decoding alone"]
    share = each["features from files"] / both
    return [*lines, f"  that is {share:.2f} of decoding, then a bare pass in the same batches"]


def _training(
    config: Transfer, backbone: Backbone, index: DatasetIndex, caches: Iterator[Path], rounds: int
) -> list[str]:
    cache = next(caches)
    computed = _timed(lambda: _features(config, backbone, index, cache))
    read = statistics.median(_timed(lambda: _features(config, backbone, index, cache)) for _ in range(rounds))
    lines = [f"  features computed {computed:.2f} s, read again {read:.3f} s: {computed / read:.0f} times faster"]
    for times, views in ((1, 0), (1, VIEWS), (TIMES, 0)):
        pictures = _repeated(index, times)
        run = partial(_train, config, backbone, pictures, next(caches), views)
        first, second = _timed(run), statistics.median(_timed(run) for _ in range(3))
        lines.append(
            f"  training, {EPOCHS} epochs, {len(pictures.pictures)} pictures, {views} augmented views: "
            f"first {first:.2f} s, second {second:.2f} s: {first / second:.1f} times faster"
        )
    return lines


def _train(config: Transfer, backbone: Backbone, index: DatasetIndex, cache: Path, views: int) -> None:
    features = _features(config, backbone, index, cache, views)
    targets = [index.labels.index(picture.label) for picture in index.pictures]
    steps = -(-len(targets) // BATCH)
    head = transfer.build_head(config, backbone.width, len(index.labels))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    head.compile("adam", loss, jit_compile=False, steps_per_execution=steps)
    batches = feature_batches(features, targets, BATCH, seed=0)
    head.fit(batches, epochs=EPOCHS, steps_per_epoch=steps, shuffle=False, verbose=0)


def _features(config: Transfer, backbone: Backbone, index: DatasetIndex, cache: Path, views: int = 0) -> Features:
    augmentation = Augmentation("flip|brightness(0.2)") if views else None
    return bottleneck(
        config, backbone, index, index.pictures, PREPROCESSING, cache, augmentation=augmentation, views=views
    )


def _decoded(index: DatasetIndex) -> tf.data.Dataset:
    return image_batches(index, index.pictures, PREPROCESSING, extraction_batch(), cache="none")


def _in_turns(cases: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median seconds of each; they take turns, so that the machine's moods hit them alike."""
    times: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, run in cases.items():
            times[name].append(_timed(run))
    return {name: statistics.median(values) for name, values in times.items()}


def _timed(run: Callable[[], Any]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def _index(root: Path, most: int) -> DatasetIndex:
    files = sorted(root.glob("*/*.jpg"), key=lambda file: hashlib.sha256(file.read_bytes()).digest())[:most]
    pictures = [
        Picture(str(file.relative_to(root)), file.parent.name, hashlib.sha256(file.read_bytes()).hexdigest(), "train")
        for file in files
    ]
    return DatasetIndex(str(root), tuple(sorted({picture.label for picture in pictures})), tuple(pictures), ())


def _repeated(index: DatasetIndex, times: int) -> DatasetIndex:
    """Every picture `times` times, as if each were another file."""
    pictures = tuple(
        replace(picture, sha256=hashlib.sha256(f"{picture.sha256} {number}".encode()).hexdigest())
        for number in range(times)
        for picture in index.pictures
    )
    return replace(index, pictures=pictures)


def _options() -> Any:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder with flowers/ and weights/hub/")
    parser.add_argument("--module", action="append", help=f"folder in weights/hub, may be repeated; default {MODULES}")
    parser.add_argument("--pictures", type=int, default=400, help="at most so many (default 400)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured (default 3)")
    parser.add_argument("--write", type=page.page, help="put the figures into this document, between its marks")
    return parser.parse_args()


if __name__ == "__main__":
    main()
