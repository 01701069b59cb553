"""What TensorFlow does not decode, or not rightly, is sent as what it does decode."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from client_images import saved
from PIL import Image, features

from vitrine_client import InvalidInput
from vitrine_client.images import ImageOptions, encode_images

COLORS = np.random.default_rng(1).integers(0, 256, (24, 32, 3), np.uint8)


def as_tensorflow_sees(content: bytes) -> np.ndarray:
    import tensorflow as tf

    return tf.io.decode_image(content, channels=3, expand_animations=False).numpy()


def sent(content: bytes, check: str = "auto") -> bytes:
    [encoded] = encode_images([content], ImageOptions(check=check))
    return encoded


@pytest.mark.parametrize("format", ["TIFF", "PPM", "JPEG2000", "ICO", "QOI"])
@pytest.mark.parametrize("check", ["quick", "full"])
def test_formats_that_tensorflow_does_not_know_become_png_without_loss(format: str, check: str):
    if format == "JPEG2000" and not features.check("jpg_2000"):
        pytest.skip("this Pillow has no JPEG 2000")
    options = {"ICO": {"sizes": [(32, 24)]}, "QOI": {}}.get(format, {})
    content = saved(Image.fromarray(COLORS), format, **options)
    encoded = sent(content, check)
    assert encoded.startswith(b"\x89PNG")
    np.testing.assert_array_equal(as_tensorflow_sees(encoded), COLORS)
    assert sent(content, "off") == content


def test_tiffs_of_other_modes_become_what_tensorflow_can_take():
    grey = np.arange(24 * 32, dtype=np.uint16).reshape(24, 32) * 85
    encoded = sent(saved(Image.fromarray(grey), "TIFF"))
    np.testing.assert_array_equal(as_tensorflow_sees(encoded)[:, :, 0], (grey >> 8).astype(np.uint8))
    inks = Image.fromarray(COLORS).convert("CMYK")
    encoded = sent(saved(inks, "TIFF"))
    np.testing.assert_array_equal(as_tensorflow_sees(encoded), np.asarray(inks.convert("RGB")))
    with pytest.raises(InvalidInput, match=r"images\[0\]: .*floating point.*8 bits"):
        sent(saved(Image.fromarray(grey.astype(np.float32)), "TIFF"))
    with pytest.raises(InvalidInput, match=r"images\[0\]: .*32 bits.*8 bits"):
        sent(saved(Image.fromarray(grey.astype(np.int32) * 1000), "TIFF"))


@pytest.mark.parametrize("mode", ["1", "L", "P"])
def test_bitmaps_with_a_palette_keep_their_colors(mode: str):
    image = Image.fromarray(COLORS).convert(mode)
    encoded = sent(saved(image, "BMP"))
    np.testing.assert_array_equal(as_tensorflow_sees(encoded), np.asarray(image.convert("RGB")))


def test_bitmaps_longer_than_they_should_be_are_made_fit():
    content = saved(Image.fromarray(COLORS), "BMP") + b"more"
    with pytest.raises(Exception, match="size should match"):
        as_tensorflow_sees(content)
    np.testing.assert_array_equal(as_tensorflow_sees(sent(content)), COLORS)


def test_animations_broken_behind_their_first_frame_are_made_fit():
    frames = [Image.fromarray(COLORS), Image.fromarray(COLORS[::-1])]
    for format in ("GIF", "PNG"):
        content = saved(frames[0], format, save_all=True, append_images=frames[1:])
        broken = content[:-200] + b"broken" + content[-200:]
        assert sent(broken) != broken
        np.testing.assert_array_equal(as_tensorflow_sees(sent(broken)), as_tensorflow_sees(content))


def test_webp_with_alpha_or_several_frames_is_made_fit():
    image = Image.fromarray(COLORS).convert("RGBA")
    image.putalpha(Image.fromarray(COLORS[:, :, 0]))
    content = saved(image, "WEBP", lossless=True, exact=True)
    with pytest.raises(Exception, match="channels"):
        as_tensorflow_sees(content)
    np.testing.assert_array_equal(as_tensorflow_sees(sent(content)), COLORS)
    frames = [Image.fromarray(COLORS), Image.fromarray(COLORS[::-1])]
    content = saved(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    np.testing.assert_array_equal(as_tensorflow_sees(sent(content)), COLORS)


def test_png_with_alpha_passes_and_tensorflow_drops_the_alpha():
    image = Image.fromarray(COLORS).convert("RGBA")
    image.putalpha(Image.fromarray(COLORS[:, :, 0]))
    content = saved(image, "PNG")
    assert sent(content) == content
    np.testing.assert_array_equal(as_tensorflow_sees(content), COLORS)


def test_jpegs_of_inks_have_the_colors_that_other_programs_show(encode: Callable[..., bytes]):
    content = encode("CMYK", "JPEG", (64, 48), quality=95)
    assert sent(content) == content
    at = content.index(b"\xff\xee")
    unmarked = content[:at] + content[at + 16 :]
    shown = np.asarray(Image.open(io.BytesIO(unmarked)).convert("RGB")).astype(int)
    assert np.abs(as_tensorflow_sees(unmarked) - shown).mean() > 50, "TensorFlow has come to agree: convert no more"
    assert np.abs(as_tensorflow_sees(sent(unmarked)) - shown).mean() < 6


def test_several_frames_in_png_and_gif_pass():
    frames = [Image.fromarray(COLORS), Image.fromarray(COLORS[::-1])]
    for format in ("PNG", "GIF"):
        content = saved(frames[0], format, save_all=True, append_images=frames[1:])
        for check in ("quick", "full"):
            assert sent(content, check) == content


def test_two_pictures_in_one_jpeg_pass():
    frames = [Image.fromarray(COLORS), Image.fromarray(COLORS[::-1])]
    content = saved(frames[0], "MPO", save_all=True, append_images=frames[1:])
    assert Image.open(io.BytesIO(content)).format == "MPO"
    for check in ("quick", "full"):
        assert sent(content, check) == content


def test_what_is_encoded_anew_carries_no_metadata():
    image = Image.fromarray(COLORS)
    content = saved(image, "TIFF", icc_profile=b"profile" * 999, description="described")
    assert b"described" in content
    read = Image.open(io.BytesIO(sent(content)))
    assert not read.info.keys() & {"icc_profile", "exif", "comment"}
    image.info["icc_profile"] = b"profile" * 999
    [encoded] = encode_images([image])
    assert "icc_profile" not in Image.open(io.BytesIO(encoded)).info
