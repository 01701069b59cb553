"""Every file is decoded once before training, so that nothing breaks in the middle of an epoch."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import tensorflow as tf

# How the content begins, and how the name may end, the usual way first.
_FORMATS = {
    "JPEG": (b"\xff\xd8", (".jpg", ".jpeg", ".jpe", ".jfif")),
    "PNG": (b"\x89PNG", (".png",)),
    "GIF": (b"GIF8", (".gif",)),
    "BMP": (b"BM", (".bmp", ".dib")),
    "WebP": (b"RIFF", (".webp",)),
}
PICTURE_SUFFIXES = frozenset(suffix for _, suffixes in _FORMATS.values() for suffix in suffixes)
# Far above any picture; what is larger would only fill the memory.
_MOST_BYTES = 1 << 28
THUMBNAIL = 16


@dataclass(frozen=True)
class Checked:
    """One file: its content's SHA-256 in hex, and the reason it cannot be used, None if it can."""

    path: Path
    sha256: str
    reason: str | None
    thumbnail: np.ndarray | None = field(default=None, compare=False)
    """Grey values of the picture, float32 [16, 16] in [0, 255]; None if it cannot be used."""


def check_files(paths: Iterable[Path], root: Path, geometry: Callable[[tf.Tensor], tf.Tensor]) -> Iterator[Checked]:
    """Read, hash and decode each of `paths` below `root` in parallel; results come in the order of `paths`.

    `geometry` is that of the Preprocessing: encoded bytes, string [], to float32 [H, W, C] in [0, 255].
    """

    def thumbnail(image_bytes: tf.Tensor) -> tf.Tensor:
        grey = tf.reduce_mean(geometry(image_bytes), axis=-1, keepdims=True)
        return tf.image.resize(grey, (THUMBNAIL, THUMBNAIL), method="area")[..., 0]

    in_graph = tf.function(thumbnail, input_signature=[tf.TensorSpec([], tf.string)], autograph=False)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(lambda path: _check(path, root, in_graph), paths)


def _check(path: Path, root: Path, thumbnail: Callable[[tf.Tensor], tf.Tensor]) -> Checked:
    suffix = path.suffix.lower()
    if suffix not in PICTURE_SUFFIXES:
        return Checked(path, "", f"not a picture by its name: {suffix or 'no suffix'}")
    if not str(path.relative_to(root)).isprintable():
        return Checked(path, "", "its name holds characters that cannot be printed")
    try:
        status = path.stat()
        # Reading a pipe or a device would wait for ever.
        if not stat.S_ISREG(status.st_mode):
            return Checked(path, "", "cannot be read: is no regular file")
        if status.st_size > _MOST_BYTES:
            return Checked(path, "", f"too large for a picture: {status.st_size >> 20} MiB")
        data = path.read_bytes()
    except OSError as error:
        return Checked(path, "", f"cannot be read: {error.strerror or error}")
    digest = hashlib.sha256(data).hexdigest()
    if not data:
        return Checked(path, digest, "empty file")
    actual = next((name for name, (magic, _) in _FORMATS.items() if data.startswith(magic)), None)
    if actual is not None and suffix not in _FORMATS[actual][1]:
        return Checked(path, digest, f"misnamed: the content is {actual}; rename it to end in {_FORMATS[actual][1][0]}")
    try:
        grey = thumbnail(tf.constant(data)).numpy()
    except tf.errors.OpError as error:
        return Checked(path, digest, f"cannot be decoded: {reason_of(error)}")
    return Checked(path, digest, None, grey)


def reason_of(error: tf.errors.OpError) -> str:
    """TensorFlow's own reason, without the Python frames and node names that it wraps it in."""
    paragraphs = [part.strip() for part in re.split(r"\n\s*\n", error.message.split("\n\t [[")[0])]
    reason = re.sub(r"^\{\{.*?\}\} ?", "", paragraphs[-1])
    reason = re.sub(r" ?\[Op:\w+\]| ?name: *$", "", reason)
    if reason.startswith("assertion failed: "):
        reason = re.sub(r"[\[\]]", "", reason.removeprefix("assertion failed: "))
    return " ".join(reason.split())
