"""From the bytes of a picture to the network's input: the one implementation that training and serving share.

A pipeline is composed from one string, the recipe's `preprocessing`:

    decode|resize(32)|grayscale|value_range(-1,1)

It starts with `decode`, which gives uint8 RGB. With `decode(scaled=True)` large JPEG files are decoded at a half, a
quarter or an eighth of their size where that is enough for the `resize` that follows, see docs/decoding.md. Every
later step takes images of shape [..., H, W, C], so the same steps serve one decoded picture (`from_bytes`) and a batch
of raw pixels (`from_pixels`). The style follows google-research/big_vision, whose preprocessing strings serve training
and evaluation alike.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import tensorflow as tf

from vitrine_export.decoding import DEFAULT_MAX_PIXELS, Decoder, Format

Step = Callable[[tf.Tensor], tf.Tensor]


class PreprocessingError(ValueError):
    """A preprocessing string that names an unknown step or gives it wrong arguments."""


def _decoder(max_pixels: int, scaled: bool, target: tuple[int, int] | None) -> Decoder:
    if type(max_pixels) is not int or max_pixels < 1:
        raise PreprocessingError(f"decode: max_pixels must be a whole number above 0, not {max_pixels!r}")
    if type(scaled) is not bool:
        raise PreprocessingError(f"decode: scaled must be True or False, not {scaled!r}")
    if scaled and target is None:
        raise PreprocessingError("decode(scaled=True) is for the resize that follows: add a step resize(SIDE)")
    return Decoder(max_pixels, target if scaled else None)


def resize(height: int, width: int | None = None, antialias: bool = False) -> Step:
    """Bilinear resize to `height` x `width` pixels (square without `width`); uint8 or float in, float32 out."""
    size = (height, height if width is None else width)
    if not all(type(side) is int and 1 <= side <= 4096 for side in size):
        raise PreprocessingError(f"resize{size}: sides are whole numbers from 1 to 4096")
    return _Resize(size, antialias)


@dataclass(frozen=True)
class _Resize:
    size: tuple[int, int]
    antialias: bool

    def __call__(self, images: tf.Tensor) -> tf.Tensor:
        return tf.cast(tf.image.resize(images, self.size, antialias=self.antialias), tf.float32)


def central_square() -> Step:
    """The largest square in the middle of [..., H, W, C], so that a resize to a square squashes nothing."""
    return _central_square


def _central_square(images: tf.Tensor) -> tf.Tensor:
    height, width = tf.unstack(tf.shape(images)[-3:-1])
    side = tf.minimum(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return images[..., top : top + side, left : left + side, :]


def grayscale() -> Step:
    """RGB [..., H, W, 3] to luma [..., H, W, 1], weights of ITU-R BT.601."""
    return tf.image.rgb_to_grayscale


def value_range(low: float, high: float) -> Step:
    """Scale linearly from [0, 255] to [low, high], float32."""
    if not low < high:
        raise PreprocessingError(f"value_range({low},{high}): the first value must be below the second")
    scale = (high - low) / 255.0
    if low == 0:
        return lambda images: tf.cast(images, tf.float32) * scale
    return lambda images: tf.cast(images, tf.float32) * scale + low


def caffe() -> Step:
    """[0, 255] RGB to BGR less ImageNet's mean, as VGG and ResNet (version 1) of keras.applications expect."""
    return lambda images: tf.cast(images, tf.float32)[..., ::-1] - _CAFFE_MEAN


def torch() -> Step:
    """[0, 255] RGB to RGB standardised by ImageNet's mean and deviation, as DenseNet of keras.applications expects."""
    return lambda images: (tf.cast(images, tf.float32) / 255.0 - _TORCH_MEAN) / _TORCH_DEVIATION


# Source: keras.applications.imagenet_utils.
_CAFFE_MEAN = (103.939, 116.779, 123.68)
_TORCH_MEAN, _TORCH_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

_GEOMETRY: dict[str, Callable[..., Step]] = {
    "central_square": central_square,
    "resize": resize,
    "grayscale": grayscale,
}
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
        if None in self.geometry_shape:
            raise PreprocessingError(f"{self.spec!r}: put resize before the steps that scale pixel values")

    @cached_property
    def _calls(self) -> tuple[list[Call], list[Call]]:
        """The steps of the geometry, then all from the first one that scales pixel values."""
        calls = [parse_call(part) for part in self.spec.split("|")]
        if calls[0][0] != "decode":
            raise PreprocessingError(f"{self.spec!r} must start with the step decode")
        scaling = next((at for at, call in enumerate(calls) if call[0] in _VALUES), len(calls))
        return calls[:scaling], calls[scaling:]

    @cached_property
    def _parsed(self) -> tuple[Decoder, list[Step], list[Step]]:
        """Decoding, then the steps of both halves of `_calls`."""
        (first, *geometry), values = self._calls
        steps = [build_step(call, STEPS, "decode, then any of ") for call in geometry + values]
        target = next((step.size for step in steps if isinstance(step, _Resize)), None)
        if target and "central_square" in [name for name, _, _ in geometry]:
            target = (max(target), max(target))

        def decode(max_pixels: int = DEFAULT_MAX_PIXELS, scaled: bool = False) -> Decoder:
            return _decoder(max_pixels, scaled, target)

        # A step's messages name the function as the recipe does.
        decode.__qualname__ = "decode"
        return build_step(first, {"decode": decode}), steps[: len(geometry)], steps[len(geometry) :]

    @property
    def max_pixels(self) -> int:
        """Pictures of more pixels are refused."""
        return self._parsed[0].max_pixels

    @property
    def geometry_spec(self) -> str:
        """The part of `spec` that `geometry` does, written the same way whatever spaces `spec` has."""
        return "|".join(
            f"{name}({', '.join([*map(repr, positional), *(f'{key}={named[key]!r}' for key in sorted(named))])})"
            for name, positional, named in self._calls[0]
        )

    @cached_property
    def output_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of the network's input."""
        return self._shape_of(self.from_pixels)

    @cached_property
    def geometry_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of what `geometry` gives."""
        return self._shape_of(self._shape)

    @staticmethod
    def _shape_of(function: Step) -> tuple[int, int, int]:
        pixels = tf.TensorSpec([None, None, 3], tf.uint8)
        traced = tf.function(function, autograph=False).get_concrete_function(pixels)
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

    def geometry(self, image_bytes: tf.Tensor, decoded_before: Format | None = None) -> tf.Tensor:
        """The first half of `from_bytes`: one encoded picture to its final shape, float32 in [0, 255].

        Random changes to training pictures belong between this and `values`; errors as in `from_bytes`. The format of
        a picture that was `decoded_before` saves time with tiny ones; it may be an error where the file has another.
        """
        decoder = self._parsed[0]
        return self._shape(decoder.again(image_bytes, decoded_before) if decoded_before else decoder(image_bytes))

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
        reason = str(error).replace(f"{name}() ", "")
        raise PreprocessingError(f"step {name}: {reason}") from None


__all__ = ["DEFAULT_MAX_PIXELS", "STEPS", "Preprocessing", "PreprocessingError", "build_step", "parse_call"]
