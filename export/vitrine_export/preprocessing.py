"""From the bytes of a picture to the network's input: the one implementation that training and serving share.

A pipeline is composed from one string, the recipe's `preprocessing`:

    decode|resize(32)|grayscale|value_range(-1,1)

It starts with `decode`, which gives uint8 RGB. Every later step takes images of shape [..., H, W, C], so the same
steps serve one decoded picture (`from_bytes`) and a batch of raw pixels (`from_pixels`). The style follows
google-research/big_vision, whose preprocessing strings serve training and evaluation alike.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import tensorflow as tf

from vitrine_export.decoding import DEFAULT_MAX_PIXELS, decoder

Step = Callable[[tf.Tensor], tf.Tensor]


class PreprocessingError(ValueError):
    """A preprocessing string that names an unknown step or gives it wrong arguments."""


def resize(height: int, width: int | None = None, antialias: bool = False) -> Step:
    """Bilinear resize to `height` x `width` pixels (square without `width`); uint8 or float in, float32 out."""
    size = (height, height if width is None else width)
    if not all(type(side) is int and 1 <= side <= 4096 for side in size):
        raise PreprocessingError(f"resize{size}: sides are whole numbers from 1 to 4096")
    return lambda images: tf.cast(tf.image.resize(images, size, antialias=antialias), tf.float32)


def grayscale() -> Step:
    """RGB [..., H, W, 3] to luma [..., H, W, 1], weights of ITU-R BT.601."""
    return tf.image.rgb_to_grayscale


def value_range(low: float, high: float) -> Step:
    """Scale linearly from [0, 255] to [low, high], float32."""
    if not low < high:
        raise PreprocessingError(f"value_range({low},{high}): the first value must be below the second")
    return lambda images: tf.cast(images, tf.float32) * ((high - low) / 255.0) + low


def caffe() -> Step:
    """[0, 255] RGB to BGR less ImageNet's mean, as VGG and ResNet (version 1) of keras.applications expect."""
    return lambda images: tf.cast(images, tf.float32)[..., ::-1] - _CAFFE_MEAN


def torch() -> Step:
    """[0, 255] RGB to RGB standardised by ImageNet's mean and deviation, as DenseNet of keras.applications expects."""
    return lambda images: (tf.cast(images, tf.float32) / 255.0 - _TORCH_MEAN) / _TORCH_DEVIATION


# Source: keras.applications.imagenet_utils.
_CAFFE_MEAN = (103.939, 116.779, 123.68)
_TORCH_MEAN, _TORCH_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

_GEOMETRY: dict[str, Callable[..., Step]] = {"resize": resize, "grayscale": grayscale}
_VALUES: dict[str, Callable[..., Step]] = {"value_range": value_range, "caffe": caffe, "torch": torch}
STEPS = _GEOMETRY | _VALUES


@dataclass(frozen=True)
class Preprocessing:
    """The pipeline that `spec` describes.

    Raises PreprocessingError at construction for an unknown step, wrong arguments, a pipeline that does not
    start with `decode`, or one whose output has no fixed size.
    """

    spec: str

    def __post_init__(self) -> None:
        if None in self.output_shape:
            raise PreprocessingError(f"{self.spec!r} has no fixed output size: add a step resize(SIDE)")

    @cached_property
    def _parsed(self) -> tuple[Step, list[Step], list[Step]]:
        """Decoding, then the steps of the geometry, then all from the first one that scales pixel values."""
        first, *rest = (parse_call(part) for part in self.spec.split("|"))
        if first[0] != "decode":
            raise PreprocessingError(f"{self.spec!r} must start with the step decode")
        steps = [build_step(call, STEPS, "decode, then any of ") for call in rest]
        scaling = next((at for at, call in enumerate(rest) if call[0] in _VALUES), len(rest))
        return build_step(first, {"decode": decoder}), steps[:scaling], steps[scaling:]

    @cached_property
    def output_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of the network's input."""
        pixels = tf.TensorSpec([None, None, 3], tf.uint8)
        traced = tf.function(self.from_pixels, autograph=False).get_concrete_function(pixels)
        return tuple(traced.output_shapes.as_list())

    def from_bytes(self, image_bytes: tf.Tensor) -> tf.Tensor:
        """One encoded picture, string [], to float32 `output_shape`.

        Works eagerly, in tf.data and in a graph. Raises InvalidArgumentError for bytes that are no picture, are
        broken, or hold more pixels than `decode(max_pixels=...)` allows (default 50 million).
        """
        return self.values(self.geometry(image_bytes))

    def from_pixels(self, images: tf.Tensor) -> tf.Tensor:
        """Raw RGB pixels, uint8 [..., H, W, 3], to float32 [..., *output_shape]."""
        return self.values(self._shape(images))

    def geometry(self, image_bytes: tf.Tensor) -> tf.Tensor:
        """The first half of `from_bytes`: one encoded picture to its final shape, float32 in [0, 255].

        Random changes to training pictures belong between this and `values`; errors as in `from_bytes`.
        """
        decode = self._parsed[0]
        return self._shape(decode(image_bytes))

    def values(self, images: tf.Tensor) -> tf.Tensor:
        """The second half: [0, 255] to the values that the network expects, float32 [..., *output_shape]."""
        return _apply(self._parsed[2], images)

    def _shape(self, images: tf.Tensor) -> tf.Tensor:
        return _apply(self._parsed[1], images)


def _apply(steps: list[Step], images: tf.Tensor) -> tf.Tensor:
    for step in steps:
        images = step(images)
    return tf.cast(images, tf.float32)


Call = tuple[str, list[Any], dict[str, Any]]


def parse_call(text: str) -> Call:
    """`name` or `name(1, key=2)`, literals only, so a recipe cannot run code."""
    try:
        node = ast.parse(text.strip(), mode="eval").body
        if isinstance(node, ast.Name):
            return node.id, [], {}
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            positional = [ast.literal_eval(value) for value in node.args]
            named = {keyword.arg: ast.literal_eval(keyword.value) for keyword in node.keywords if keyword.arg}
            if len(named) == len(node.keywords):
                return node.func.id, positional, named
    except (SyntaxError, ValueError):
        pass
    raise PreprocessingError(f"cannot read the step {text.strip()!r}: write it as name or name(value, ...)")


def build_step(call: Call, known: dict[str, Callable[..., Any]], before: str = "") -> Any:
    """What `known` makes of the call; PreprocessingError for a name it does not hold or arguments it does not take."""
    name, positional, named = call
    if name not in known:
        raise PreprocessingError(f"unknown step {name!r}; accepted: {before}{', '.join(known)}")
    try:
        return known[name](*positional, **named)
    except TypeError as error:
        reason = str(error).replace("decoder()", "decode").replace(f"{name}() ", "")
        raise PreprocessingError(f"step {name}: {reason}") from None


__all__ = ["DEFAULT_MAX_PIXELS", "STEPS", "Preprocessing", "PreprocessingError", "build_step", "parse_call"]
