"""Small real SavedModels, written where a test wants them."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

BATCH_WAIT_SECONDS = 1.0


class HalfPlus(tf.Module):
    """y = x / 2 + offset, for x float32 of any shape."""

    def __init__(self, offset: float) -> None:
        super().__init__()
        self.half = tf.Variable(0.5)
        self.offset = tf.Variable(offset)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def halve(self, x):
        return {"y": self.half * x + self.offset}


class Showcase(HalfPlus):
    """One signature for each thing a server has to carry."""

    def __init__(self) -> None:
        super().__init__(2.0)
        self.calls = tf.Variable(0, dtype=tf.int64)
        self.arrivals = tf.Variable(0, dtype=tf.int64)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32)], autograph=False)
        def network(x):
            return tf.fill(tf.shape(x), tf.size(x))

        self.network = network.get_concrete_function()

    @tf.function(
        input_signature=[tf.TensorSpec([None, 2], tf.float32, name="a"), tf.TensorSpec([None], tf.int64, name="b")]
    )
    def several(self, a, b):
        return {"sum": tf.reduce_sum(a, axis=1) + tf.cast(b, tf.float32), "twice": 2 * b}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def strings(self, text):
        return {"text": text, "text_bytes": text}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
    def pictures(self, image_bytes):
        def brightness(encoded):
            return tf.reduce_mean(tf.cast(tf.io.decode_image(encoded, 3, expand_animations=False), tf.float32)) / 255

        light = tf.map_fn(brightness, image_bytes, fn_output_signature=tf.float32, parallel_iterations=4)
        scores = tf.stack([light, 1 - light], axis=1)
        order = tf.argsort(scores, direction="DESCENDING")
        return {
            "labels": tf.gather(tf.constant(["light", "dark"]), order),
            "scores": tf.gather(scores, order, batch_dims=1),
        }

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def batched(self, x):
        """How many values shared the network run with x; waits for company before it runs."""
        with tf.control_dependencies([self.arrivals.assign_add(1)]):
            x = tf.identity(x)
        [size] = tf.raw_ops.BatchFunction(
            in_tensors=[x],
            captured_tensors=self.network.captured_inputs,
            f=self.network,
            num_batch_threads=1,
            max_batch_size=64,
            batch_timeout_micros=int(BATCH_WAIT_SECONDS * 1e6),
            max_enqueued_batches=100,
            shared_name="network",
            Tout=[tf.int32],
        )
        return {"size": size}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def arrived(self, x):
        """How many calls of `batched` have begun, those that still wait included."""
        return {"arrived": self.arrivals + 0 * tf.size(x, tf.int64)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def count(self, x):
        """How often this has been called since the model was loaded."""
        return {"calls": self.calls.assign_add(1) + 0 * tf.size(x, tf.int64)}


def write_half_plus(version: Path, offset: float) -> Path:
    model = HalfPlus(offset)
    tf.saved_model.save(model, str(version), signatures=model.halve)
    return version


def write_showcase(version: Path) -> Path:
    model = Showcase()
    names = ("several", "strings", "pictures", "batched", "arrived", "count")
    signatures = {name: getattr(model, name) for name in names}
    tf.saved_model.save(model, str(version), signatures={"serving_default": model.halve, **signatures})
    return version


def write_warmup(version: Path, *records: bytes) -> None:
    extra = version / "assets.extra"
    extra.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(extra / "tf_serving_warmup_requests")) as writer:
        for record in records:
            writer.write(record)


def predict_log(signature_name: str, **inputs: list[float]) -> bytes:
    """A warm-up record that calls one signature with float32 inputs."""
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.model_spec.signature_name = signature_name
    for name, values in inputs.items():
        log.predict_log.request.inputs[name].CopyFrom(tf.make_tensor_proto(values, tf.float32))
    return log.SerializeToString()
