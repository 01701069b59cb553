"""The first frame of a GIF file, cut out in the graph.

TensorFlow's decoder unpacks every frame of a GIF before it hands out the first, each with a size of its own: a few
kilobytes can claim gigabytes. Cutting the file after its first frame bounds that, and makes animations cheap.
Format: https://www.w3.org/Graphics/GIF/spec-gif89a.txt
"""

from __future__ import annotations

import tensorflow as tf

_EXTENSION, _IMAGE, _TRAILER = 0x21, 0x2C, b"\x3b"
# Each block costs some 50 microseconds here, so a file of nothing but tiny ones must not go on for ever. Image data
# comes in blocks of 255 bytes: this is 2 MB of it.
_MAX_BLOCKS = 8192
_BLOCK, _EXTENSION_DATA, _IMAGE_DATA, _DONE = range(4)


def first_frame(image_bytes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """A GIF file, string [], up to the end of its first frame, and the pixels that it claims, int64 [].

    A file that ends too early comes back as it is long: the decoder says what is wrong with it.
    """
    # Zeros behind the end let every read below be in range; a zero also ends a chain of data blocks.
    data = tf.io.decode_raw(tf.strings.join([image_bytes, "\0" * 1024]), tf.uint8)
    length = tf.strings.length(image_bytes)

    def byte(at: tf.Tensor | int) -> tf.Tensor:
        return tf.cast(data[at], tf.int32)

    def word(at: tf.Tensor | int) -> tf.Tensor:
        return byte(at) + 256 * byte(at + 1)

    def color_table_bytes(packed: tf.Tensor) -> tf.Tensor:
        return tf.where(packed >= 128, 3 * tf.bitwise.left_shift(2, packed % 8), 0)

    def unfinished(at: tf.Tensor, state: tf.Tensor, frame: tf.Tensor) -> tf.Tensor:
        del frame
        return tf.logical_and(at < length, state != _DONE)

    def advance(at: tf.Tensor, state: tf.Tensor, frame: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        introducer = byte(at)
        is_image = tf.logical_and(tf.equal(state, _BLOCK), tf.equal(introducer, _IMAGE))
        is_extension = tf.logical_and(tf.equal(state, _BLOCK), tf.equal(introducer, _EXTENSION))
        is_chain_end = tf.logical_and(state != _BLOCK, tf.equal(introducer, 0))
        step = tf.where(state != _BLOCK, introducer + 1, tf.where(is_extension, 2, 1))
        step = tf.where(is_image, 11 + color_table_bytes(byte(at + 9)), step)
        following = tf.where(tf.equal(state, _BLOCK), _DONE, state)
        following = tf.where(is_image, _IMAGE_DATA, tf.where(is_extension, _EXTENSION_DATA, following))
        following = tf.where(is_chain_end, tf.where(tf.equal(state, _EXTENSION_DATA), _BLOCK, _DONE), following)
        return at + step, following, tf.where(is_image, at, frame)

    start = 13 + color_table_bytes(byte(10))
    end, state, frame = tf.while_loop(
        unfinished, advance, [start, _BLOCK, -1], parallel_iterations=1, maximum_iterations=_MAX_BLOCKS
    )
    found = tf.debugging.Assert(
        tf.logical_not(unfinished(end, state, frame)),
        [f"the first frame of the GIF does not end within {_MAX_BLOCKS} blocks"],
    )
    with tf.control_dependencies([found]):
        end = tf.identity(end)
    cut = tf.strings.join([tf.strings.substr(image_bytes, 0, tf.minimum(end, length)), _TRAILER])
    at = tf.maximum(frame, 0)
    sides = tf.stack([word(6), word(8), word(at + 5), word(at + 7)])
    width, height = tf.maximum(sides[0], sides[2]), tf.maximum(sides[1], sides[3])
    return cut, tf.cast(width, tf.int64) * tf.cast(height, tf.int64)
