"""Decoding of untrusted picture bytes inside the TensorFlow graph, with a limit on pixels before memory is spent.

The size that a file claims is read from its header first, so a decompression bomb costs nothing. EXIF orientation
is not applied: TensorFlow's decoders ignore it, in training and in serving alike.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from vitrine_export.gif import first_frame

DEFAULT_MAX_PIXELS = 50_000_000
_HEADER_BYTES = 32


def decoder(max_pixels: int = DEFAULT_MAX_PIXELS) -> Callable[[tf.Tensor], tf.Tensor]:
    """A function from encoded bytes, string [], to RGB pixels, uint8 [H, W, 3].

    It takes JPEG (also grey and CMYK), PNG (alpha dropped, 16 bits reduced to 8), GIF (its first frame), BMP and
    WebP, and raises InvalidArgumentError for anything else, for broken data and for more than `max_pixels` pixels.
    """
    if not isinstance(max_pixels, int) or max_pixels < 1:
        raise TypeError(f"max_pixels must be a whole number above 0, not {max_pixels!r}")

    @tf.function(input_signature=[tf.TensorSpec([], tf.string)], autograph=False)
    def decode(image_bytes: tf.Tensor) -> tf.Tensor:
        header = _header(image_bytes)
        image_bytes, pixels = tf.cond(
            _starts_with(header, b"\xff\xd8"),
            lambda: (image_bytes, _product(tf.image.extract_jpeg_shape(image_bytes)[:2])),
            lambda: _other_format(image_bytes, header),
        )
        fits = tf.debugging.Assert(
            pixels <= max_pixels,
            ["the picture is too large: it claims", pixels, "pixels, the limit is", max_pixels],
        )
        with tf.control_dependencies([fits]):
            image = tf.io.decode_image(image_bytes, channels=3, expand_animations=False)
        return tf.ensure_shape(image, [None, None, 3])

    return decode


def _other_format(image_bytes: tf.Tensor, header: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    is_gif = _starts_with(header, b"GIF8")
    known = [is_gif, _starts_with(header, b"\x89PNG"), _starts_with(header, b"BM"), _is_webp(header)]
    check = tf.debugging.Assert(
        tf.reduce_any(known),
        [
            "the bytes are no picture that can be decoded (JPEG, PNG, GIF, BMP, WebP); they begin with",
            header[:4],
        ],
    )
    with tf.control_dependencies([check]):
        return tf.cond(is_gif, lambda: first_frame(image_bytes), lambda: (image_bytes, _pixels_claimed(header)))


def _header(image_bytes: tf.Tensor) -> tf.Tensor:
    """The first bytes, padded with zeros, as int64 [32]."""
    padded = tf.strings.join([image_bytes, "\0" * _HEADER_BYTES])
    return tf.cast(tf.io.decode_raw(tf.strings.substr(padded, 0, _HEADER_BYTES), tf.uint8), tf.int64)


def _starts_with(header: tf.Tensor, magic: bytes, at: int = 0) -> tf.Tensor:
    return tf.reduce_all(tf.equal(header[at : at + len(magic)], list(magic)))


def _is_webp(header: tf.Tensor) -> tf.Tensor:
    return tf.logical_and(_starts_with(header, b"RIFF"), _starts_with(header, b"WEBP", at=8))


def _product(sides: tf.Tensor) -> tf.Tensor:
    return tf.reduce_prod(tf.cast(sides, tf.int64))


def _little_endian(header: tf.Tensor, at: int, count: int) -> tf.Tensor:
    return tf.reduce_sum(header[at : at + count] * [256**i for i in range(count)])


def _pixels_claimed(header: tf.Tensor) -> tf.Tensor:
    """Width times height as the header of a PNG, BMP or WebP file states them, int64 []."""
    png = tf.reduce_prod([tf.reduce_sum(header[at : at + 4] * [1 << 24, 1 << 16, 256, 1]) for at in (16, 20)])
    # BMP sides are signed 32 bit: a negative height means rows from top to bottom.
    bmp_sides = [_little_endian(header, at, 4) for at in (18, 22)]
    bmp = tf.reduce_prod([tf.minimum(side, 2**32 - side) for side in bmp_sides])
    webp_lossy = tf.reduce_prod([_little_endian(header, at, 2) % 2**14 for at in (26, 28)])
    lossless_bits = _little_endian(header, 21, 4)
    webp_lossless = (lossless_bits % 2**14 + 1) * (lossless_bits // 2**14 % 2**14 + 1)
    webp_extended = tf.reduce_prod([_little_endian(header, at, 3) + 1 for at in (24, 27)])
    webp = tf.where(
        _starts_with(header, b"VP8X", at=12),
        webp_extended,
        tf.where(_starts_with(header, b"VP8L", at=12), webp_lossless, webp_lossy),
    )
    return tf.where(_starts_with(header, b"\x89PNG"), png, tf.where(_starts_with(header, b"BM"), bmp, webp))
