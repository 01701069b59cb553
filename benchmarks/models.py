"""The models that benchmarks serve, and the requests that go to them."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image
from tensorflow_serving.apis import predict_pb2

NAME = "model"
PICTURE_SIDE = 224
TOP = 5
IMAGENET_CLASSIFIER = "mobilenet_v2_100_224_classification"
# Width and height of a web photo; at this quality noise of low frequency makes about 40 kB.
_PHOTO_SIZE = (500, 375)


class _HalfPlusTwo(tf.Module):
    def __init__(self) -> None:
        super().__init__()
        self.half = tf.Variable(0.5)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def call(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": self.half * x + 2.0}


def write_trivial(version: Path) -> None:
    """y = x / 2 + 2: what a request costs without a model to speak of."""
    model = _HalfPlusTwo()
    tf.saved_model.save(model, str(version), signatures=model.call)


def write_mobilenet(version: Path) -> None:
    """MobileNetV2 1.0 at 224 with random weights, JPEG in, exported the way `vitrine-export` does it."""
    import keras

    from vitrine_export import warmup
    from vitrine_export.models import FEATURES, LOGITS

    shape = (PICTURE_SIDE, PICTURE_SIDE, 3)
    trunk = keras.applications.MobileNetV2(shape, weights=None, include_top=False, pooling="avg")
    features = keras.layers.Identity(name=FEATURES)(trunk.output)
    network = keras.Model(trunk.input, keras.layers.Dense(120, name=LOGITS)(features))
    labels = version.parent / "labels.txt"
    labels.parent.mkdir(parents=True, exist_ok=True)
    names = [f"class {number}" for number in range(120)]
    labels.write_text("".join(f"{name}\n" for name in names))
    _serving(network, labels, f"decode|resize({PICTURE_SIDE})|value_range(-1,1)").save(version)
    warmup.write(version, NAME, photos(2), (1, 4), (PICTURE_SIDE, PICTURE_SIDE))


def write_imagenet(weights: Path, preprocessing: str, version: Path) -> None:
    """The ImageNet classifier in `weights`, a SavedModel in TF Hub's format, exported as `vitrine-export` does."""
    import keras

    from vitrine_export.models import FEATURES, LOGITS

    loaded = tf.saved_model.load(str(weights / "hub" / IMAGENET_CLASSIFIER))
    labels = weights / "imagenet_labels.txt"
    classes = len(labels.read_text().splitlines())

    class Loaded(keras.layers.Layer):
        def call(self, images: Any) -> Any:
            return tf.ensure_shape(loaded(images, training=False), [None, classes])

        def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
            return shape[0], classes

    images = keras.Input((PICTURE_SIDE, PICTURE_SIDE, 3))
    logits = Loaded(name=LOGITS)(keras.layers.Identity(name=FEATURES)(images))
    module = _serving(keras.Model(images, logits), labels, preprocessing)
    # Keras does not see these variables, so the export would lack them.
    module.loaded = loaded
    module.save(version)


def _serving(network: Any, labels: Path, preprocessing: str) -> Any:
    from vitrine_export.preprocessing import Preprocessing
    from vitrine_export.recipe import BatchingConfig
    from vitrine_export.signatures import ServingModule

    names = labels.read_text().splitlines()
    return ServingModule(network, names, labels, Preprocessing(preprocessing), BatchingConfig(), top_k=TOP)


def photos(count: int, seed: int = 0) -> list[bytes]:
    """JPEGs of web-photo size with photo-like detail, all different."""
    random = np.random.default_rng(seed)
    encoded = []
    for _ in range(count):
        coarse = random.integers(0, 255, (48, 64, 3), np.uint8)
        picture = Image.fromarray(coarse).resize(_PHOTO_SIZE, Image.Resampling.BICUBIC)
        fine = random.normal(0, 6, (_PHOTO_SIZE[1], _PHOTO_SIZE[0], 3))
        pixels = np.clip(np.asarray(picture) + fine, 0, 255).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=85)
        encoded.append(buffer.getvalue())
    return encoded


def trivial_request() -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = NAME
    request.inputs["x"].CopyFrom(tf.make_tensor_proto([1.0, 2.0, 5.0], tf.float32))
    return request


def photo_request(photo: bytes) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = NAME
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([photo], tf.string))
    return request


def trivial_json() -> bytes:
    return json.dumps({"instances": [1.0, 2.0, 5.0]}).encode()
