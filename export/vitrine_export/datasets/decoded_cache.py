"""Decoded pictures kept between epochs: in memory, or on disk and from one run to the next.

Everything happens inside the tf.data graph, picture by picture as the first epoch comes by: no step waits for the
whole cache, and no Python code runs between one batch and the next.

On disk, each picture is a file below FOLDER/decoded/KEY/WRITER/, named by the SHA-256 of the encoded picture. KEY
stands for all that pixels depend on, WRITER for whoever writes: only it writes there, each file once, and it does not
read a file before it has written all of it. Others take what is there and complete when they start. So a killed
process leaves nothing that is mistaken for a picture, and several processes share a folder without locks.
"""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import sys
import tempfile
import uuid
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import tensorflow as tf

from vitrine_export.datasets.index import Picture
from vitrine_export.errors import DatasetError

# Part of the key: increase it where the files' content changes.
_VERSION = 1
_CHECKSUM_BYTES = 8


class MemoryCache:
    """Room for `count` images of `shape`, float32; memory is taken as they are stored."""

    def __init__(self, count: int, shape: tuple[int, int, int]) -> None:
        self._shape = shape
        # The bare resource, because a tf.Variable made under a distribution strategy would be copied to its devices.
        with tf.device("CPU:0"):
            self._images = _resource(tf.raw_ops.Empty(shape=[count, *shape], dtype=tf.float32))

    def store(self, images: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
        """`images` [B, *shape], once they are kept at `places`, int [B]."""
        stored = tf.raw_ops.ResourceScatterUpdate(resource=self._images, indices=places, updates=images)
        with tf.control_dependencies([stored]):
            return tf.identity(images)

    def load(self, places: tf.Tensor) -> tf.Tensor:
        """The images stored at `places`, int [B]: float32 [B, *shape]."""
        images = tf.raw_ops.ResourceGather(resource=self._images, indices=places, dtype=tf.float32)
        return tf.ensure_shape(images, [None, *self._shape])


class DiskCache:
    """Decoded `pictures` below `folder`, or in a temporary folder that is removed at exit.

    Raises DatasetError where the folder cannot be written or the disk has no room for them.
    """

    def __init__(
        self, folder: Path | None, geometry_spec: str, pictures: Sequence[Picture], shape: tuple[int, int, int]
    ) -> None:
        self._shape = shape
        self._values = math.prod(shape)
        self.folder = (folder or _temporary_folder()) / "decoded" / _key(geometry_spec, shape)
        slots = {digest: slot for slot, digest in enumerate(dict.fromkeys(picture.sha256 for picture in pictures))}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            found = self._complete_files()
            own = self.folder / uuid.uuid4().hex
            missing = sum(digest not in found for digest in slots)
            self._require_room(missing)
            if missing:
                own.mkdir()
        except OSError as error:
            raise DatasetError(
                f"cannot keep decoded pictures in {self.folder}: {error.strerror or error}; "
                "give dataset.cache: memory or none"
            ) from None
        self._slots = tf.constant([slots[picture.sha256] for picture in pictures], tf.int64)
        self._files = tf.constant([found.get(digest) or str(own / digest) for digest in slots])
        with tf.device("CPU:0"):
            self._present = _resource(tf.constant([digest in found for digest in slots]))

    def load(self, place: tf.Tensor, decode: Callable[[], tf.Tensor]) -> tf.Tensor:
        """The picture at `place` in `pictures`, from its file, or by `decode` where there is no whole one."""
        slot = tf.gather(self._slots, place)
        content = tf.cond(
            self._is_present(slot), lambda: tf.io.read_file(tf.gather(self._files, slot)), lambda: tf.constant("")
        )
        # Two more values, which hold the checksum. Short content is filled up with zeros.
        values = tf.io.decode_raw(content, tf.float32, fixed_length=self._file_bytes)
        image, checksum = values[: self._values], tf.bitcast(values[self._values :], tf.uint8)
        whole = tf.reduce_all(tf.equal(_checksum(image), tf.reshape(checksum, [-1])))
        return tf.cond(whole, lambda: tf.reshape(image, self._shape), decode)

    def store(self, image: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
        """`image`, once it is in its file. Not to be called in parallel."""
        slot = tf.gather(self._slots, place)

        def write() -> tf.Tensor:
            content = tf.strings.join([_bytes(image, self._file_bytes - _CHECKSUM_BYTES), _bytes(_checksum(image), 8)])
            with tf.control_dependencies([tf.io.write_file(tf.gather(self._files, slot), content)]):
                written = tf.raw_ops.ResourceScatterUpdate(resource=self._present, indices=slot, updates=True)
            with tf.control_dependencies([written]):
                return tf.identity(image)

        return tf.cond(self._is_present(slot), lambda: image, write)

    @property
    def _file_bytes(self) -> int:
        return self._values * 4 + _CHECKSUM_BYTES

    def _is_present(self, slot: tf.Tensor) -> tf.Tensor:
        return tf.raw_ops.ResourceGather(resource=self._present, indices=slot, dtype=tf.bool)

    def _complete_files(self) -> dict[str, str]:
        """By the picture's digest. One that is being written is shorter."""
        writers = [entry.path for entry in os.scandir(self.folder) if entry.is_dir()]
        files = (entry for writer in sorted(writers) for entry in os.scandir(writer))
        return {entry.name: entry.path for entry in files if entry.stat().st_size == self._file_bytes}

    def _require_room(self, count: int) -> None:
        needed, free = count * self._file_bytes, shutil.disk_usage(self.folder).free
        if needed > free:
            raise DatasetError(
                f"{self.folder}: {count} decoded pictures take {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free; "
                "make room, or give dataset.cache: none"
            )


def _resource(value: tf.Tensor) -> tf.Tensor:
    """A resource variable that goes when nothing refers to it any more."""
    # TensorFlow's name for a variable of no name; see tensorflow/python/eager/context.py, anonymous_name.
    resource = tf.raw_ops.VarHandleOp(
        dtype=value.dtype, shape=value.shape, shared_name="cd2c89b7-88b7-44c8-ad83-06c2a9158347"
    )
    tf.raw_ops.AssignVariableOp(resource=resource, value=value)
    return resource


def _checksum(image: tf.Tensor) -> tf.Tensor:
    """Of a float32 tensor, uint8 [8]."""
    return tf.raw_ops.Fingerprint(data=tf.reshape(image, [1, -1]), method="farmhash64")[0]


def _bytes(tensor: tf.Tensor, count: int) -> tf.Tensor:
    """The tensor's `count` bytes as a string: they are what its serialised form ends with."""
    return tf.strings.substr(tf.io.serialize_tensor(tensor), -count, count)


def _key(geometry_spec: str, shape: tuple[int, int, int]) -> str:
    said = [_VERSION, tf.__version__, sys.byteorder, geometry_spec, shape]
    return hashlib.sha256(repr(said).encode()).hexdigest()[:32]


@cache
def _temporary_root() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="vitrine-decoded-")


def _temporary_folder() -> Path:
    return Path(_temporary_root().name)
