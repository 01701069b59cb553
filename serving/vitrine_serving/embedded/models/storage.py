"""Which versions of a model lie under its base path."""

from __future__ import annotations

import re

import tensorflow as tf

_VERSION_NAME = re.compile(r"[0-9]{1,64}")
_MAX_VERSION = 2**63 - 1


def list_versions(base_path: str) -> dict[int, str]:
    """Version number to directory for every child of `base_path` named by a number.

    Leading zeros are allowed; of `1` and `001` the one sorted last counts. Other names are ignored.
    `base_path` is local or any address TensorFlow reads (`gs://...`). Raises OSError when it cannot be
    listed.
    """
    try:
        children = tf.io.gfile.listdir(base_path)
    except tf.errors.OpError as error:
        raise OSError(error.message) from error
    versions = {}
    for child in sorted(name.rstrip("/") for name in children):
        if _VERSION_NAME.fullmatch(child) and int(child) <= _MAX_VERSION:
            versions[int(child)] = tf.io.gfile.join(base_path, child)
    return versions


def fingerprint(version_path: str) -> object:
    """A value that changes when the files that make `version_path` loadable do."""
    found: list[tuple[int, int] | None] = []
    for name in ("saved_model.pb", "saved_model.pbtxt", "variables/variables.index"):
        try:
            stat = tf.io.gfile.stat(tf.io.gfile.join(version_path, name))
        except tf.errors.OpError:
            found.append(None)
        else:
            found.append((stat.length, stat.mtime_nsec))
    return tuple(found)
