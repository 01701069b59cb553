"""How requests are put together into batches: the text proto TensorFlow Serving reads, from any file system."""

from __future__ import annotations

import tensorflow as tf

from vitrine_serving.config import InvalidConfig, batching, messages
from vitrine_serving.embedded.errors import invalid_argument
from vitrine_serving.embedded.text_protos import read_text_proto

# Beside saved_model.pb, in the version's own directory.
MODEL_PARAMETERS_FILE = "batching_params.pbtxt"


class BatchingParameters(batching.BatchingParameters):
    """The same, with the server's own error."""

    def check(self) -> None:
        """Raise ServingError INVALID_ARGUMENT when nothing can be batched by these parameters."""
        try:
            super().check()
        except InvalidConfig as error:
            raise invalid_argument(str(error)) from error


def read_batching_parameters(path: str) -> BatchingParameters:
    """Read the text proto `tensorflow.serving.BatchingParameters` at `path`, local or any address TensorFlow reads.

    Raises ServingError: INVALID_ARGUMENT for what is not such a proto, with the parser's reason, or breaks its
    rules; else what the file system said.
    """
    parameters = BatchingParameters(**batching.given_values(read_text_proto(path, messages.BatchingParameters())))
    parameters.check()
    return parameters


def model_batching_parameters(path: str) -> BatchingParameters | None:
    """The parameters a SavedModel brings along in its directory `path`; None, so no batching, without the file.

    For `--enable_per_model_batching_parameters`. The threads stay those of the server. Raises as
    `read_batching_parameters`.
    """
    file = tf.io.gfile.join(path, MODEL_PARAMETERS_FILE)
    return read_batching_parameters(file) if tf.io.gfile.exists(file) else None
