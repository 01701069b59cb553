"""Random changes to training pictures, between the geometry and the pixel values of the preprocessing.

Composed from one string, the recipe's `augmentation`, in the grammar of `preprocessing`:

    flip|rotate(15)|zoom(0.2)|brightness(0.2)|contrast(0.2)

All steps that move pixels become one warp, so a picture is interpolated once however many of them there are; what
comes in from beyond its edges is its mirror image. Then the colours change, in the order given, and are clipped to
[0, 255] at the end. Everything random depends on the seed alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import tensorflow as tf

from vitrine_export.preprocessing import PreprocessingError, build_step, parse_call


class _Draws:
    """Random numbers for N pictures, each picture's from its own seed, int [N, 2]: one call, one number for each."""

    def __init__(self, seeds: tf.Tensor) -> None:
        halves = tf.cast(tf.cast(seeds, tf.int64), tf.uint64)
        self._state = _mix(_mix(halves[:, 0]) + halves[:, 1])
        self._count = 0

    def __call__(self, low: float, high: float) -> tf.Tensor:
        """Uniform in [low, high), float32 [N]."""
        self._count += 1
        bits = _mix(self._state + tf.constant(self._count * _GOLDEN % 2**64, tf.uint64))
        share = tf.cast(tf.bitwise.right_shift(bits, tf.constant(40, tf.uint64)), tf.float32) / 2**24
        return low + share * (high - low)


# SplitMix64 (Steele, Lea and Flood, 2014). TensorFlow's own stateless generators take one seed for a whole batch.
_GOLDEN = 0x9E3779B97F4A7C15


def _mix(bits: tf.Tensor) -> tf.Tensor:
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = tf.bitwise.bitwise_xor(bits, tf.bitwise.right_shift(bits, tf.constant(shift, tf.uint64)))
        bits = mixed * tf.constant(factor, tf.uint64)
    return tf.bitwise.bitwise_xor(bits, tf.bitwise.right_shift(bits, tf.constant(31, tf.uint64)))


# (a, b, c, d, e, f), each a number or float32 [N]: where the pixel that comes to (x, y) is taken from, at
# (a x + b y + c, d x + e y + f); in pixels from the centre.
_Affine = tuple[tf.Tensor, ...]
_Move = Callable[[_Draws, tf.Tensor, tf.Tensor], _Affine]
_Change = Callable[[_Draws, tf.Tensor], tf.Tensor]


@dataclass(frozen=True)
class Augmentation:
    """The random changes that `spec` describes.

    Raises PreprocessingError at construction for an unknown step or wrong arguments.
    """

    spec: str

    def __post_init__(self) -> None:
        _ = self._parsed

    @cached_property
    def _parsed(self) -> tuple[list[_Move], list[_Change]]:
        calls = [parse_call(part) for part in self.spec.split("|")]
        steps = [(call[0], build_step(call, AUGMENTATIONS)) for call in calls]
        moves = [step for name, step in steps if name in _MOVES]
        return moves, [step for name, step in steps if name in _CHANGES]

    def __call__(self, image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """One picture, float32 [H, W, C] in [0, 255], changed as `seed`, int [2], says; same shape and range."""
        return self.batch(image[tf.newaxis], tf.convert_to_tensor(seed)[tf.newaxis])[0]

    def batch(self, images: tf.Tensor, seeds: tf.Tensor) -> tf.Tensor:
        """Pictures, float32 [N, H, W, C], each with its own of `seeds`, int [N, 2]: what N calls give, but faster."""
        moves, changes = self._parsed
        draws = _Draws(seeds)
        moved = _warp(images, moves, draws) if moves else images
        for change in changes:
            moved = change(draws, moved)
        # A warp interpolates, so it stays in the range, but for the last bit.
        return tf.ensure_shape(tf.clip_by_value(moved, 0.0, 255.0), images.shape)


def _warp(images: tf.Tensor, moves: list[_Move], draws: _Draws) -> tf.Tensor:
    height, width = (tf.cast(tf.shape(images)[axis], tf.float32) for axis in (1, 2))
    a, b, c, d, e, f = moves[0](draws, height, width)
    for move in moves[1:]:
        p, q, r, s, t, u = move(draws, height, width)
        a, b, c, d, e, f = (
            *(a * p + b * s, a * q + b * t, a * r + b * u + c),
            *(d * p + e * s, d * q + e * t, d * r + e * u + f),
        )
    # From pixels off the centre to pixels off the first one.
    x, y = (width - 1) / 2, (height - 1) / 2
    rows = [a, b, c + x - a * x - b * y, d, e, f + y - d * x - e * y, 0.0, 0.0]
    count = tf.shape(images)[:1]
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=tf.stack([tf.broadcast_to(tf.cast(row, tf.float32), count) for row in rows], axis=1),
        output_shape=tf.shape(images)[1:3],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="REFLECT",
    )


def flip() -> _Move:
    """Left and right change places in half of the pictures."""
    return lambda draws, height, width: (_sign(draws), 0.0, 0.0, 0.0, 1.0, 0.0)


def flip_vertical() -> _Move:
    """Top and bottom change places in half of the pictures."""
    return lambda draws, height, width: (1.0, 0.0, 0.0, 0.0, _sign(draws), 0.0)


def _sign(draws: _Draws) -> tf.Tensor:
    return tf.where(draws(0, 1) < 0.5, -1.0, 1.0)


def rotate(degrees: float) -> _Move:
    """Turn by up to `degrees` either way round the centre."""
    limit = math.radians(_within("rotate", degrees, 180))

    def move(draws: _Draws, height: tf.Tensor, width: tf.Tensor) -> _Affine:
        angle = draws(-limit, limit)
        return tf.cos(angle), -tf.sin(angle), 0.0, tf.sin(angle), tf.cos(angle), 0.0

    return move


def zoom(amount: float) -> _Move:
    """Scale what is seen by a factor from 1 - `amount` to 1 + `amount` round the centre."""
    limit = _within("zoom", amount, 0.9)

    def move(draws: _Draws, height: tf.Tensor, width: tf.Tensor) -> _Affine:
        scale = 1 / draws(1 - limit, 1 + limit)
        return scale, 0.0, 0.0, 0.0, scale, 0.0

    return move


def shift(amount: float) -> _Move:
    """Move by up to `amount` of the height and of the width."""
    limit = _within("shift", amount, 1)
    return lambda draws, height, width: (
        *(1.0, 0.0, draws(-limit, limit) * width),
        *(0.0, 1.0, draws(-limit, limit) * height),
    )


def crop(share: float) -> _Move:
    """A part with at least `share` of the sides, anywhere within the picture, scaled up to its full size."""
    least = _within("crop", share, 1)

    def move(draws: _Draws, height: tf.Tensor, width: tf.Tensor) -> _Affine:
        side = draws(least, 1)
        x, y = (draws(-0.5, 0.5) * (1 - side) * full for full in (width, height))
        return side, 0.0, x, 0.0, side, y

    return move


def brightness(amount: float) -> _Change:
    """Add up to `amount` of the full range, or take it away."""
    limit = 255 * _within("brightness", amount, 1)
    return lambda draws, images: images + _each(draws(-limit, limit))


def contrast(amount: float) -> _Change:
    """Scale the distance from the picture's mean by a factor from 1 - `amount` to 1 + `amount`."""
    limit = _within("contrast", amount, 1)

    def change(draws: _Draws, images: tf.Tensor) -> tf.Tensor:
        factor = _each(draws(1 - limit, 1 + limit))
        return images * factor + tf.reduce_mean(images, [1, 2, 3], keepdims=True) * (1 - factor)

    return change


def saturation(amount: float) -> _Change:
    """Scale the distance from the pixel's grey by a factor from 1 - `amount` to 1 + `amount`; grey stays as it is."""
    limit = _within("saturation", amount, 1)

    def change(draws: _Draws, images: tf.Tensor) -> tf.Tensor:
        factor = _each(draws(1 - limit, 1 + limit))
        if images.shape[-1] == 1:
            return images
        return images * factor + tf.image.rgb_to_grayscale(images) * (1 - factor)

    return change


def rgb_shift(amount: float) -> _Change:
    """Add to each of red, green and blue up to `amount` of the full range, or take it away; grey stays as it is."""
    limit = 255 * _within("rgb_shift", amount, 1)

    def change(draws: _Draws, images: tf.Tensor) -> tf.Tensor:
        shifts = tf.stack([draws(-limit, limit) for _ in range(3)], axis=1)
        return images if images.shape[-1] == 1 else images + shifts[:, tf.newaxis, tf.newaxis]

    return change


def cutout(share: float) -> _Change:
    """Fill a rectangle of up to `share` of the height and of the width with the picture's mean."""
    limit = _within("cutout", share, 1)

    def change(draws: _Draws, images: tf.Tensor) -> tf.Tensor:
        rows, columns = (_span(draws, limit, tf.shape(images)[axis]) for axis in (1, 2))
        hidden = tf.logical_and(rows[:, :, tf.newaxis], columns[:, tf.newaxis])[..., tf.newaxis]
        return tf.where(hidden, tf.reduce_mean(images, [1, 2], keepdims=True), images)

    return change


def _span(draws: _Draws, limit: float, side: tf.Tensor) -> tf.Tensor:
    """A random stretch of at most `limit` of `side`: bool [N, side]."""
    full = tf.cast(side, tf.float32)
    length = draws(0, limit) * full
    start = draws(0, 1) * (full - length)
    centres = tf.range(full)[tf.newaxis] + 0.5
    return tf.logical_and(centres >= start[:, tf.newaxis], centres < (start + length)[:, tf.newaxis])


def _each(values: tf.Tensor) -> tf.Tensor:
    return values[:, tf.newaxis, tf.newaxis, tf.newaxis]


def _within(name: str, value: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= most:
        raise PreprocessingError(f"{name}({value!r}): give a number above 0 and up to {most}")
    return float(value)


_MOVES: dict[str, Callable[..., _Move]] = {
    "flip": flip,
    "flip_vertical": flip_vertical,
    "rotate": rotate,
    "zoom": zoom,
    "shift": shift,
    "crop": crop,
}
_CHANGES: dict[str, Callable[..., _Change]] = {
    "brightness": brightness,
    "contrast": contrast,
    "saturation": saturation,
    "rgb_shift": rgb_shift,
    "cutout": cutout,
}
AUGMENTATIONS = _MOVES | _CHANGES
