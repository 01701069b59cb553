"""Every file is decoded once before training, so that nothing breaks in the middle of an epoch."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf

_FORMATS = {
    "JPEG": (b"\xff\xd8", {".jpg", ".jpeg", ".jpe", ".jfif"}),
    "PNG": (b"\x89PNG", {".png"}),
    "GIF": (b"GIF8", {".gif"}),
    "BMP": (b"BM", {".bmp", ".dib"}),
    "WebP": (b"RIFF", {".webp"}),
}
PICTURE_SUFFIXES = frozenset().union(*(suffixes for _, suffixes in _FORMATS.values()))


@dataclass(frozen=True)
class Checked:
    """One file: its content's SHA-256 in hex, and the reason it cannot be used, None if it can."""

    path: Path
    sha256: str
    reason: str | None


def check_files(
    paths: Iterable[Path], preprocess: Callable[[tf.Tensor], tf.Tensor], workers: int | None = None
) -> Iterator[Checked]:
    """Read, hash and preprocess each of `paths` in parallel; results come in the order of `paths`."""
    preprocess_in_graph = tf.function(preprocess, input_signature=[tf.TensorSpec([], tf.string)], autograph=False)
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        yield from pool.map(lambda path: _check(path, preprocess_in_graph), paths)


def _check(path: Path, preprocess: Callable[[tf.Tensor], tf.Tensor]) -> Checked:
    suffix = path.suffix.lower()
    if suffix not in PICTURE_SUFFIXES:
        return Checked(path, "", f"not a picture by its name: {suffix or 'no suffix'}")
    if not path.name.isprintable():
        return Checked(path, "", "its name holds characters that cannot be printed")
    try:
        data = path.read_bytes()
    except OSError as error:
        return Checked(path, "", f"cannot be read: {error.strerror or error}")
    digest = hashlib.sha256(data).hexdigest()
    if not data:
        return Checked(path, digest, "empty file")
    actual = next((name for name, (magic, _) in _FORMATS.items() if data.startswith(magic)), None)
    if actual is not None and suffix not in _FORMATS[actual][1]:
        return Checked(path, digest, f"misnamed: the content is {actual}; rename it to end in {_ending(actual)}")
    try:
        preprocess(tf.constant(data))
    except tf.errors.OpError as error:
        return Checked(path, digest, f"cannot be decoded: {reason_of(error)}")
    return Checked(path, digest, None)


def _ending(name: str) -> str:
    return min(_FORMATS[name][1], key=len) if name != "JPEG" else ".jpg"


def reason_of(error: tf.errors.OpError) -> str:
    """TensorFlow's own reason, without the Python frames and node names that it wraps it in."""
    paragraphs = [part.strip() for part in re.split(r"\n\s*\n", error.message.split("\n\t [[")[0])]
    reason = re.sub(r"^\{\{.*?\}\} ?", "", paragraphs[-1])
    reason = re.sub(r" ?\[Op:\w+\]| ?name: *$", "", reason)
    if reason.startswith("assertion failed: "):
        reason = re.sub(r"[\[\]]", "", reason.removeprefix("assertion failed: "))
    return " ".join(reason.split())
