"""The model in a peer's worker: loaded and called in the same way by all of them."""

from __future__ import annotations

import os
from collections.abc import Sequence

from benchmarks.peers.programs.settings import Settings


class Classifier:
    """The signature `serving_default` of the SavedModel.

    One thread: with a worker on each core, more of them only get into each other's way. TensorFlow is imported when the
    model is loaded: the processes around the workers import this module too, and need none of it.
    """

    def __init__(self, settings: Settings) -> None:
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        # Kept, for the signature does not hold the variables.
        self._model = tf.saved_model.load(str(settings.model))
        self._signature = self._model.signatures["serving_default"]
        self._constant = tf.constant
        self._refused = tf.errors.InvalidArgumentError
        # The first call is slow, and no client's.
        self.labels([tf.io.encode_jpeg(tf.zeros([8, 8, 3], tf.uint8)).numpy()])
        settings.ready.mkdir(exist_ok=True)
        (settings.ready / str(os.getpid())).touch()

    def labels(self, pictures: Sequence[bytes]) -> list[str]:
        """The best label of each picture; ValueError when one of them cannot be decoded."""
        try:
            answer = self._signature(image_bytes=self._constant(list(pictures)))
        except self._refused as error:
            # LitServe sends it to its HTTP server, which would import TensorFlow for TensorFlow's own error.
            raise ValueError(error.message) from None
        # One row of the best labels for each picture, best first.
        return [row[0].decode() for row in answer["labels"].numpy()]
