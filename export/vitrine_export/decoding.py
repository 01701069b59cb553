"""Decoding of untrusted picture bytes inside the TensorFlow graph, with a limit on pixels before memory is spent.

The size that a file claims is read from its header first, so a decompression bomb costs nothing. EXIF orientation
is not applied: TensorFlow's decoders ignore it, in training and in serving alike.

For tiny pictures the checks cost more than the decoder: every operation takes microseconds, every branch dozens of
them. So asserts are bare operations, without the branch round `tf.debugging.Assert`, and pictures decoded
before, as all that are trained on, go without checks and branches: `Decoder.again`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import tensorflow as tf

from vitrine_export.gif import first_frame

Format = Literal["JPEG", "PNG"]
DEFAULT_MAX_PIXELS = 50_000_000
_PNG = b"\x89PNG"
_HEADER_BYTES = 32
_PNG_HEADER_BYTES = 24
_RATIOS = (1, 2, 4, 8)
"""What libjpeg can divide a picture's sides by while it decodes."""


@dataclass(frozen=True)
class Decoder:
    """From encoded bytes, string [], to RGB pixels, uint8 [H, W, 3].

    It takes JPEG (also grey and CMYK), PNG (alpha dropped, 16 bits reduced to 8), GIF (its first frame), BMP and
    WebP, and raises InvalidArgumentError for anything else, for broken data and for more than `max_pixels` pixels.

    With `target`, (height, width), a JPEG's sides come out divided by 2, 4 or 8, as much as leaves both at least as
    long as the target's. `max_pixels` is about the full size.
    """

    max_pixels: int = DEFAULT_MAX_PIXELS
    target: tuple[int, int] | None = None

    def __call__(self, image_bytes: tf.Tensor) -> tf.Tensor:
        # As one function where there is no graph: operation by operation, the search through a GIF takes seconds.
        return self._function(image_bytes) if tf.executing_eagerly() else self._any(image_bytes)

    def again(self, image_bytes: tf.Tensor, format: Format) -> tf.Tensor:
        """The same for a file of a known format that was decoded before: `max_pixels` is not looked at again."""
        if self.target is None or format != "JPEG":
            return _decode(image_bytes)
        return _decode_jpeg(image_bytes, _jpeg_sides(image_bytes), self.target)

    def _any(self, image_bytes: tf.Tensor) -> tf.Tensor:
        header = _header(image_bytes)
        return tf.cond(
            _starts_with(header, b"\xff\xd8"),
            lambda: self._jpeg(image_bytes),
            lambda: tf.cond(
                _starts_with(header, _PNG), lambda: self._png(image_bytes), lambda: self._other(image_bytes, header)
            ),
        )

    def _jpeg(self, image_bytes: tf.Tensor) -> tf.Tensor:
        sides = _jpeg_sides(image_bytes)
        with tf.control_dependencies([self._check(tf.reduce_prod(tf.cast(sides, tf.int64)))]):
            return _decode_jpeg(image_bytes, sides, self.target) if self.target else _decode(image_bytes)

    def _png(self, image_bytes: tf.Tensor) -> tf.Tensor:
        # Filled up with zeros where the file is shorter. The sides are the last two of the six numbers; libpng
        # refuses those of 2**31 and more, which are negative here.
        header = tf.io.decode_raw(image_bytes, tf.int32, little_endian=False, fixed_length=_PNG_HEADER_BYTES)
        with tf.control_dependencies([self._check(tf.reduce_prod(tf.cast(header[4:], tf.int64)))]):
            return _decode(image_bytes)

    def _other(self, image_bytes: tf.Tensor, header: tf.Tensor) -> tf.Tensor:
        first, pixels = _other_format(image_bytes, header)
        with tf.control_dependencies([self._check(pixels)]):
            return _decode(first)

    def _check(self, pixels: tf.Tensor) -> tf.Operation:
        message = ["the picture is too large: it claims", pixels, "pixels, the limit is", self.max_pixels]
        return _assert(pixels <= self.max_pixels, message)

    @cached_property
    def _function(self) -> Callable[[tf.Tensor], tf.Tensor]:
        return tf.function(self._any, input_signature=[tf.TensorSpec([], tf.string)], autograph=False)


def _header(image_bytes: tf.Tensor) -> tf.Tensor:
    """The first bytes, padded with zeros."""
    return tf.strings.join([tf.strings.substr(image_bytes, 0, _HEADER_BYTES), "\0" * _HEADER_BYTES])


def _decode(image_bytes: tf.Tensor) -> tf.Tensor:
    image = tf.io.decode_image(image_bytes, channels=3, expand_animations=False)
    if not tf.executing_eagerly():
        image.set_shape([None, None, 3])
    return image


def _jpeg_sides(image_bytes: tf.Tensor) -> tf.Tensor:
    """Height and width, int32 [2]; InvalidArgumentError for bytes that are no JPEG."""
    return tf.image.extract_jpeg_shape(image_bytes)[:2]


def _decode_jpeg(image_bytes: tf.Tensor, sides: tf.Tensor, target: tuple[int, int]) -> tf.Tensor:
    # libjpeg rounds sides up.
    fitting = [tf.reduce_all((sides + (ratio - 1)) // ratio >= target) for ratio in _RATIOS[1:]]
    return tf.switch_case(
        tf.reduce_sum(tf.cast(fitting, tf.int32)),
        # The lambda's default binds each ratio to its own branch.
        [lambda ratio=ratio: tf.io.decode_jpeg(image_bytes, channels=3, ratio=ratio) for ratio in _RATIOS],
    )


def _assert(condition: tf.Tensor, message: list[object]) -> tf.Operation:
    return tf.raw_ops.Assert(condition=condition, data=[tf.convert_to_tensor(part) for part in message], summarize=3)


def _other_format(image_bytes: tf.Tensor, header: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    is_gif, is_bmp = _starts_with(header, b"GIF8"), _starts_with(header, b"BM")
    is_webp = tf.logical_and(_starts_with(header, b"RIFF"), _starts_with(header, b"WEBP", at=8))
    check = _assert(
        tf.reduce_any([is_gif, is_bmp, is_webp]),
        [
            "the bytes are no picture that can be decoded (JPEG, PNG, GIF, BMP, WebP); they begin with",
            _numbers(header)[:4],
        ],
    )
    with tf.control_dependencies([check]):
        return tf.cond(
            is_gif,
            lambda: first_frame(image_bytes),
            lambda: (
                image_bytes,
                tf.cond(is_bmp, lambda: _bmp_pixels(header), lambda: _webp_pixels(header)),
            ),
        )


def _starts_with(header: tf.Tensor, magic: bytes, at: int = 0) -> tf.Tensor:
    return tf.equal(tf.strings.substr(header, at, len(magic)), magic)


def _bmp_pixels(header: tf.Tensor) -> tf.Tensor:
    numbers = _numbers(header)
    # Signed: a negative height means rows from top to bottom.
    return tf.reduce_prod([tf.minimum(side, 2**32 - side) for side in (_long(numbers, 18), _long(numbers, 22))])


def _webp_pixels(header: tf.Tensor) -> tf.Tensor:
    numbers = _numbers(header)
    lossy = tf.reduce_prod([_little_endian(numbers, at, 2) % 2**14 for at in (26, 28)])
    lossless_bits = _long(numbers, 21)
    lossless = (lossless_bits % 2**14 + 1) * (lossless_bits // 2**14 % 2**14 + 1)
    extended = tf.reduce_prod([_little_endian(numbers, at, 3) + 1 for at in (24, 27)])
    is_extended, is_lossless = (_starts_with(header, kind, at=12) for kind in (b"VP8X", b"VP8L"))
    return tf.where(is_extended, extended, tf.where(is_lossless, lossless, lossy))


def _numbers(header: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.io.decode_raw(header, tf.uint8), tf.int64)


def _long(numbers: tf.Tensor, at: int) -> tf.Tensor:
    return _little_endian(numbers, at, 4)


def _little_endian(numbers: tf.Tensor, at: int, count: int) -> tf.Tensor:
    return tf.reduce_sum(numbers[at : at + count] * [256**i for i in range(count)])
