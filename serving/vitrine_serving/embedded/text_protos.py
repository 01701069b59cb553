"""The text protos that TensorFlow Serving is configured with, among them those its Python package lacks."""

from __future__ import annotations

from typing import Any, TypeVar

import tensorflow as tf
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2
from google.protobuf.message import Message

from vitrine_serving.embedded.errors import Code, ServingError, invalid_argument

PACKAGE = "tensorflow.serving"
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
    if not content:
        # TensorFlow Serving cannot read one either, and one that is just being written must not count.
        raise invalid_argument(f"Invalid protobuf file: '{path}': the file is empty")
    name = message.DESCRIPTOR.full_name
    try:
        text_format.Parse(content.decode("utf-8"), message)
    except (text_format.ParseError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise invalid_argument(
            f"Invalid protobuf file: '{path}': Error parsing text-format {name}: {reason}"
        ) from error
    return message


def new_file() -> descriptor_pb2.FileDescriptorProto:
    """A file of PACKAGE to define messages in; wrapper types are at hand."""
    return descriptor_pb2.FileDescriptorProto(
        name="messages.proto", package=PACKAGE, syntax="proto3", dependency=[wrappers_pb2.DESCRIPTOR.name]
    )


def message_class(file: descriptor_pb2.FileDescriptorProto, name: str) -> Any:
    """The class of message `name` of `file`.

    It lives in a pool of its own: the common one raises where another package registers the same name.
    """
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))
