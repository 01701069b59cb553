"""The text protos that TensorFlow Serving is configured with, among them those its Python package lacks."""

from __future__ import annotations

from typing import TypeVar

import tensorflow as tf
from google.protobuf.message import Message

from vitrine_serving.config.errors import InvalidConfig
from vitrine_serving.config.messages import message_class, new_file
from vitrine_serving.config.text_proto import parse
from vitrine_serving.embedded.errors import Code, ServingError, invalid_argument

__all__ = ["message_class", "new_file", "read_text_proto"]

_M = TypeVar("_M", bound=Message)


def read_text_proto(path: str, message: _M) -> _M:
    """Fill `message` from the text proto at `path` (local or any address TensorFlow reads) and return it.

    Raises ServingError: INVALID_ARGUMENT with the line and column for a malformed file and for an empty one, else
    what the file system said.
    """
    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            content = file.read()
    except tf.errors.OpError as error:
        raise ServingError(Code(error.error_code), f"Cannot read {path}: {error.message}") from error
    try:
        return parse(content, message)
    except InvalidConfig as error:
        reason = str(error)
        if error.line is not None:
            name = message.DESCRIPTOR.full_name
            reason = f"Error parsing text-format {name}: {error.line}:{error.column} : {reason}"
        raise invalid_argument(f"Invalid protobuf file: '{path}': {reason}") from error
