"""What lies under a model's base path, local or at any address TensorFlow reads (`gs://...`)."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf


def list_children(base_path: str) -> list[str]:
    """Names of what lies directly below `base_path`; raises OSError where that cannot be told."""
    if _is_local(base_path):
        return [child.name for child in Path(base_path).iterdir()]
    try:
        # Object stores may list all descendants.
        return list({name.split("/", 1)[0] for name in tf.io.gfile.listdir(base_path)})
    except tf.errors.OpError as error:
        raise OSError(error.message) from error


def fingerprint(version_path: str) -> object:
    """A value that changes when the files that make `version_path` loadable do."""
    names = ("saved_model.pb", "saved_model.pbtxt", "variables/variables.index")
    return tuple(_file_state(tf.io.gfile.join(version_path, name)) for name in names)


def _file_state(path: str) -> object:
    try:
        if _is_local(path):
            # TensorFlow's own times are whole seconds here.
            local = Path(path).stat()
            return local.st_ino, local.st_size, local.st_mtime_ns
        remote = tf.io.gfile.stat(path)
        return remote.length, remote.mtime_nsec
    except (OSError, tf.errors.OpError):
        return None


def _is_local(path: str) -> bool:
    return "://" not in path
