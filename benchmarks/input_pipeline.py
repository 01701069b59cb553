"""The input pipeline against Keras's own, and scaled decoding against plain: time, and what it does to accuracy.

Every pair is measured in turns in one run, so only the ratios count. Above 1, ours is faster.

examples:
  python -m benchmarks.input_pipeline --data DATA
  python -m benchmarks.input_pipeline --data DATA --accuracy --write docs/decoding.md
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

from benchmarks import page
from vitrine_export.datasets.digits import write_digits
from vitrine_export.datasets.index import DatasetIndex, Picture
from vitrine_export.datasets.pipeline import Cache, training_batches
from vitrine_export.preprocessing import Preprocessing
from vitrine_serving.embedded.cpus import available_cpus

BATCH, SIDE = 32, 224
PLAIN, SMOOTH, SCALED, SCALED_SMOOTH = (
    f"{decode}|resize({SIDE}{antialias})|value_range(0,1)"
    for decode in ("decode", "decode(scaled=True)")
    for antialias in ("", ",antialias=True")
)
NAMES = {
    PLAIN: "plain",
    SMOOTH: "plain, antialias",
    SCALED: "scaled",
    SCALED_SMOOTH: "scaled, antialias",
}
DIGITS = "decode|resize(8)|value_range(0,1)"
Run = Callable[[], object]
Timings = dict[str, list[tuple[float, float]]]


def epochs(folder: Path, specs: Sequence[str], side: int, rounds: int, later: int) -> list[list[str]]:
    """Rows of `_row`, Keras against ours, for the first epoch with each of `specs`, for three, and for later ones.

    The first epoch is measured without a cache, from the first call for a batch on; `later` epochs at a time. Three
    epochs: Keras's as documented, without a cache, against `auto`.
    """
    index = _index(folder)
    count = len(index.pictures)
    once = {"keras": _whole(_keras(folder, side)), **{spec: _whole(_ours(index, spec, "none")) for spec in specs}}
    timings = _in_turns(once, rounds)
    rows = [_row(f"first epoch, {NAMES.get(spec, 'plain')}", timings, ("keras", spec), count) for spec in specs]
    three = {"keras": _training(lambda: _keras(folder, side).repeat(), count)}
    three |= {spec: _training(partial(_ours, index, spec, "auto"), count) for spec in specs}
    timings = _in_turns(three, max(1, rounds // 2))
    rows += [_row(f"three epochs, {NAMES.get(spec, 'plain')}", timings, ("keras", spec), 3 * count) for spec in specs]
    with tempfile.TemporaryDirectory() as cache_folder:
        steps = later * -(-count // BATCH)
        repeated = {
            "same batches": _steps(_keras(folder, side).cache().prefetch(tf.data.AUTOTUNE).repeat(), steps),
            "new batches": _steps(_keras_shuffled(folder, side, count).repeat(), steps),
            "memory": _steps(_ours(index, specs[0], "memory"), steps),
            "disk": _steps(_ours(index, specs[0], "disk", Path(cache_folder)), steps),
        }
        timings = _in_turns(repeated, rounds)
    for keras_kind, ours in (("new batches", "memory"), ("same batches", "memory"), ("new batches", "disk")):
        what = f"later epochs, Keras's cache, {keras_kind}; ours, {ours}"
        rows.append(_row(what, timings, (keras_kind, ours), count * later))
    return rows


def _keras(folder: Path, side: int) -> tf.data.Dataset:
    """As Keras and TensorFlow document it: rescaled in parallel, the next batch prepared during a step."""
    dataset = keras.utils.image_dataset_from_directory(
        folder, image_size=(side, side), batch_size=BATCH, seed=0, verbose=False
    )
    return dataset.map(_rescaled, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def _keras_shuffled(folder: Path, side: int, count: int) -> tf.data.Dataset:
    """The same with pictures cached one by one, so that each epoch has other batches, as ours has."""
    dataset = keras.utils.image_dataset_from_directory(
        folder, image_size=(side, side), batch_size=None, seed=0, verbose=False
    )
    batches = dataset.cache().shuffle(count).batch(BATCH)
    return batches.map(_rescaled, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def _rescaled(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    return images / 255.0, labels


def _ours(index: DatasetIndex, spec: str, cache: Cache, folder: Path | None = None) -> tf.data.Dataset:
    options: dict[str, Any] = {"seed": 0, "cache": cache, "cache_folder": folder}
    batches = training_batches(index, index.pictures, Preprocessing(spec), BATCH, **options)
    return batches.take(-(-len(index.pictures) // BATCH)) if cache == "none" else batches


def _whole(dataset: tf.data.Dataset) -> Run:
    def run() -> None:
        for _ in dataset:
            pass

    return run


def _training(make: Callable[[], tf.data.Dataset], count: int) -> Run:
    """Three epochs from a dataset that is made for them, as a training does."""
    return lambda: _steps(make(), 3 * -(-count // BATCH))()


def _steps(dataset: tf.data.Dataset, count: int) -> Run:
    batches = iter(dataset)

    def run() -> None:
        for _ in range(count):
            next(batches)

    return run


def _in_turns(runs: dict[str, Run], rounds: int) -> Timings:
    """Seconds and seconds of CPU of each run, `rounds` times; a first turn fills caches and is not counted."""
    timings: Timings = {name: [] for name in runs}
    for turn in range(rounds + 1):
        for name, run in runs.items():
            started, used = time.perf_counter(), time.process_time()
            run()
            if turn:
                timings[name].append((time.perf_counter() - started, time.process_time() - used))
    return timings


def _row(what: str, timings: Timings, pair: tuple[str, str], pictures: int) -> list[str]:
    """What, milliseconds a picture of both, how many times faster the second is, and how many times less CPU."""
    first, second = (timings[name] for name in pair)
    medians = [f"{statistics.median(wall for wall, _ in side) / pictures * 1e3:.3f}" for side in (first, second)]
    ratios = [statistics.median(a[k] / b[k] for a, b in zip(first, second, strict=True)) for k in (0, 1)]
    row = [what, *medians, *(f"{ratio:.2f}" for ratio in ratios)]
    print(" | ".join(row), file=sys.stderr, flush=True)
    return row


def decoding(groups: dict[str, Sequence[Path]], rounds: int) -> list[list[str]]:
    """Rows of `_row`, plain against scaled: decoding and resizing in one thread, by groups of pictures."""
    rows = []
    for name, paths in groups.items():
        contents = [tf.constant(path.read_bytes()) for path in paths]
        runs = {spec: _each(spec, contents) for spec in (SMOOTH, SCALED_SMOOTH)}
        rows.append(_row(name, _in_turns(runs, rounds), (SMOOTH, SCALED_SMOOTH), len(paths)))
    return rows


def _each(spec: str, contents: Sequence[tf.Tensor]) -> Run:
    geometry = tf.function(Preprocessing(spec).geometry, autograph=False)
    return lambda: [geometry(content) for content in contents]


def accuracy(data: Path) -> list[list[str]]:
    """Rows of (pictures, pipeline, cosine to the first one: mean and lowest, linear probe's accuracy), MobileNetV2."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedShuffleSplit, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    network = tf.saved_model.load(str(data / "weights" / "hub" / "mobilenet_v2_100_224_feature_vector"))
    flowers, dogs = data / "flowers", data / "dog_breeds" / "dogImages"
    sets = {
        "large_photos": (sorted((data / "large_photos").glob("*.jpg")), None),
        "flowers": (sorted(flowers.glob("*/*.jpg")), "class"),
        "dogImages": (sorted(dogs.glob("*/*/*.jpg")), "class"),
    }
    rows = []
    for name, (paths, kind) in sets.items():
        classes = [path.parent.name for path in paths]
        plain: Any = None
        for spec in (SMOOTH, SCALED_SMOOTH, PLAIN, SCALED):
            embedded = _embed(network, paths, spec)
            plain = embedded if plain is None else plain
            cosines = np.sum(_unit(plain) * _unit(embedded), axis=1)
            probe = "-"
            if kind:
                scores = cross_val_score(
                    make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, C=0.01)),
                    embedded,
                    classes,
                    cv=StratifiedShuffleSplit(20, test_size=0.3, random_state=0),
                )
                probe = f"{scores.mean():.3f} ± {scores.std(ddof=1) / np.sqrt(len(scores)):.3f}"
            row = [f"{name} ({len(paths)})", NAMES[spec], f"{cosines.mean():.4f}", f"{cosines.min():.4f}", probe]
            print(" | ".join(row), file=sys.stderr, flush=True)
            rows.append(row)
    return rows


def _embed(network: Any, paths: Sequence[Path], spec: str) -> Any:
    files = tf.data.Dataset.from_tensor_slices([str(path) for path in paths]).map(tf.io.read_file)
    images = files.map(Preprocessing(spec).from_bytes, num_parallel_calls=tf.data.AUTOTUNE).batch(BATCH)
    return np.concatenate([network(batch).numpy() for batch in images])


def _unit(vectors: Any) -> Any:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _index(folder: Path) -> DatasetIndex:
    paths = sorted(path for path in folder.glob("*/*") if path.is_file())
    pictures = tuple(
        # Links to the same photo stand for different ones.
        Picture(path.relative_to(folder).as_posix(), path.parent.name, f"{number:064x}", "train")
        for number, path in enumerate(paths)
    )
    return DatasetIndex(str(folder), tuple(sorted({picture.label for picture in pictures})), pictures, ())


def _in_class_folders(photos: Sequence[Path], folder: Path, times: int) -> None:
    """Links to each of `photos` below a folder named by the first part of its name."""
    for photo in photos:
        label = folder / photo.name.split("__")[0]
        label.mkdir(parents=True, exist_ok=True)
        for number in range(times):
            (label / f"{number}_{photo.name}").symlink_to(photo.resolve())


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _measure(options: argparse.Namespace, folder: Path) -> str:
    data: Path = options.data
    large, flowers = sorted((data / "large_photos").glob("*.jpg")), sorted((data / "flowers").glob("*/*.jpg"))
    _in_class_folders(large, folder / "camera", options.times)
    write_digits(folder / "digits")
    head = ["", "Keras, ms a picture", "ours", "times faster", "times less CPU"]
    parts = [
        f"`python -m benchmarks.input_pipeline {' '.join(sys.argv[1:])}`\n\n{available_cpus()} cores "
        f"({platform.machine()}), Python {platform.python_version()}, TensorFlow {tf.__version__}, "
        f"Keras {keras.__version__}.\n"
    ]
    for title, source, chosen, side, later in (
        (f"{len(large) * options.times} camera photos", folder / "camera", (SCALED_SMOOTH, SCALED, PLAIN), SIDE, 5),
        (f"{len(flowers)} web photos (flowers)", data / "flowers", (PLAIN, SCALED, SCALED_SMOOTH), SIDE, 2),
        ("1797 digits of 8 x 8 pixels", folder / "digits", (DIGITS,), 8, 10),
    ):
        print(title, file=sys.stderr, flush=True)
        parts.append(f"### {title}\n\n" + _table(head, epochs(source, chosen, side, options.rounds, later)))
    groups: dict[str, Sequence[Path]] = {}
    for path in large:
        height, width = tf.image.extract_jpeg_shape(path.read_bytes()).numpy()[:2]
        groups.setdefault(f"{round(height * width / 1e6)} megapixels", []).append(path)  # type: ignore[attr-defined]
    ordered = dict(sorted(groups.items(), key=lambda item: int(item[0].split()[0])))
    table = decoding({**ordered, "web photos (flowers)": flowers[::8]}, options.rounds)
    parts.append(
        "### Decoding and resizing alone, one thread\n\n" + _table(["", "plain, ms", "scaled, ms", *head[3:]], table)
    )
    if options.accuracy:
        head = ["pictures", "pipeline", "cosine to the first, mean", "lowest", "linear probe"]
        parts.append("### Accuracy\n\n" + _table(head, accuracy(data)))
    return "\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with large_photos and flowers")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each pair (default %(default)s)")
    parser.add_argument("--times", type=int, default=5, help="how often each camera photo is used (%(default)s)")
    parser.add_argument("--accuracy", action="store_true", help="compare embeddings too; needs weights and dog_breeds")
    parser.add_argument("--write", type=page.page, help="put the tables into this document, between its marks")
    options = parser.parse_args()
    for name in ("large_photos", "flowers", *(["weights", "dog_breeds"] if options.accuracy else [])):
        if not (options.data / name).is_dir():
            parser.error(f"--data: {options.data / name} is not there")
    with tempfile.TemporaryDirectory() as folder:
        report = _measure(options, Path(folder))
    print(report)
    if options.write:
        page.write(options.write, report)


if __name__ == "__main__":
    main()
