"""One implementation for training and serving: whatever runs it, the pixels are the same."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from served_pixels import served_pixels

from vitrine_export.preprocessing import Preprocessing

SPEC = "decode|resize(16,12)|value_range(-1,1)"
FORMATS = [
    ("RGB", "JPEG"),
    ("L", "JPEG"),
    ("CMYK", "JPEG"),
    ("RGB", "PNG"),
    ("RGBA", "PNG"),
    ("L", "PNG"),
    ("LA", "PNG"),
    ("P", "PNG"),
    ("1", "PNG"),
    ("I;16", "PNG"),
    ("P", "GIF"),
    ("RGB", "BMP"),
    ("L", "BMP"),
    ("RGB", "WEBP"),
    ("RGBA", "WEBP"),
]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory):
    """A saved model whose `features` are the preprocessed pixels themselves."""
    with served_pixels(SPEC, tmp_path_factory.mktemp("pixels")) as model:
        yield model


@pytest.mark.parametrize(("mode", "format"), FORMATS)
def test_parity_eager_tf_data_tf_function_and_saved_signature(saved, encode, mode: str, format: str) -> None:
    data = encode(mode, format)
    preprocessing = Preprocessing(SPEC)
    eager = preprocessing.from_bytes(tf.constant(data)).numpy()
    in_function = tf.function(preprocessing.from_bytes)(tf.constant(data)).numpy()
    [in_data] = tf.data.Dataset.from_tensors(data).map(preprocessing.from_bytes).as_numpy_iterator()
    served = saved.run("features", {"image_bytes": np.array([data], object)})["features"].reshape(16, 12, 3)
    assert eager.shape == (16, 12, 3)
    assert eager.min() < -0.2 < 0.2 < eager.max()
    for other in (in_function, in_data, served):
        np.testing.assert_allclose(other, eager, atol=1e-6, rtol=0)


def test_pixels_and_bytes_of_the_same_picture_agree(encode) -> None:
    data = encode("RGB", "PNG")
    pixels = np.asarray(Image.open(io.BytesIO(data)))
    preprocessing = Preprocessing("decode|resize(8,antialias=True)|grayscale|value_range(0,1)")
    one = preprocessing.from_bytes(tf.constant(data)).numpy()
    batch = preprocessing.from_pixels(tf.constant(np.stack([pixels, pixels]))).numpy()
    assert batch.shape == (2, 8, 8, 1)
    np.testing.assert_allclose(batch[1], one, atol=1e-6)


def test_values_are_scaled_to_the_range_asked_for() -> None:
    white = tf.fill([4, 4, 3], tf.constant(255, tf.uint8))
    assert Preprocessing("decode|resize(2)|value_range(-1,1)").from_pixels(white).numpy() == pytest.approx(1)
    assert Preprocessing("decode|resize(2)|value_range(0,1)").from_pixels(white * 0).numpy() == pytest.approx(0)


def _decode(data: bytes, spec: str = SPEC) -> np.ndarray:
    return Preprocessing(spec).from_bytes(tf.constant(data)).numpy()


def test_an_animation_gives_its_first_frame() -> None:
    frames = [Image.fromarray(np.full((6, 8, 3), grey, np.uint8)) for grey in (0, 120, 240)]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], loop=0)
    np.testing.assert_allclose(_decode(file.getvalue()), -1)


def png_header(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBB", 13, b"IHDR", width, height, 8, 2, 0, 0, 0) + b"\0" * 8


def gif_with_large_frame(width: int, height: int) -> bytes:
    """A screen of one pixel; the size is in the frame's own descriptor."""
    screen = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + b"\0" * 6
    return screen + b"\x2c" + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02\x4c\x01\x00\x3b"


BOMBS = {
    "png": png_header(60_000, 60_000),
    "gif": gif_with_large_frame(60_000, 60_000),
    "bmp": b"BM" + b"\0" * 12 + struct.pack("<IiiHH", 40, 60_000, -60_000, 1, 24) + b"\0" * 24,
    "webp": b"RIFF\x20\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\x5f\xea\x00" * 2 + b"\0" * 16,
    "webp lossless": b"RIFF\x20\0\0\0WEBPVP8L\x0a\0\0\0\x2f" + struct.pack("<I", 16383 | 16383 << 14) + b"\0" * 16,
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_decompression_bomb_is_refused_by_what_it_claims(name: str) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"too large.*pixels, the limit is"):
        _decode(BOMBS[name])


def test_a_gif_of_endless_tiny_blocks_is_refused() -> None:
    empty_comment = b"\x21\xfe\x00"
    screen = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0, 0, 0)
    with pytest.raises(tf.errors.InvalidArgumentError, match="does not end within 8192 blocks"):
        _decode(screen + empty_comment * 100_000)


def test_the_pixel_limit_is_the_recipes_to_choose(encode) -> None:
    data = encode("RGB", "JPEG", size=(40, 30))
    assert _decode(data, "decode(max_pixels=1200)|resize(4)").shape == (4, 4, 3)
    with pytest.raises(tf.errors.InvalidArgumentError, match="too large"):
        _decode(data, "decode(max_pixels=1199)|resize(4)")


@pytest.mark.parametrize("data", [b"", b"\xff", b"GIF8", b"hello, I am text", b"II*\x00 a TIFF"])
def test_bytes_that_are_no_picture(data: bytes) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError):
        _decode(data)


@pytest.mark.parametrize(("mode", "format"), [("RGB", "JPEG"), ("RGB", "PNG"), ("P", "GIF"), ("RGB", "BMP")])
def test_every_truncation_is_an_error_or_a_picture_never_a_crash(encode, mode: str, format: str) -> None:
    data = encode(mode, format, size=(9, 7))
    preprocess = Preprocessing(SPEC).from_bytes
    outcomes = set()
    for length in range(0, len(data), 7):
        try:
            outcomes.add(preprocess(tf.constant(data[:length])).shape.rank)
        except tf.errors.InvalidArgumentError:
            outcomes.add("refused")
    assert "refused" in outcomes


def test_the_613_bytes_that_claim_193_by_31423_pixels(shared_data) -> None:
    [path] = shared_data.rglob("its_19453136_193x31423_in_613_bytes.jpg")
    with pytest.raises(tf.errors.InvalidArgumentError):
        _decode(path.read_bytes())
    with pytest.raises(tf.errors.InvalidArgumentError, match="too large"):
        _decode(path.read_bytes(), "decode(max_pixels=1000000)|resize(4)")
