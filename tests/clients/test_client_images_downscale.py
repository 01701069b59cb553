"""`max_side`: pictures scaled down before they are sent."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from client_images import saved
from PIL import Image, ImageOps
from PIL.JpegImagePlugin import JpegImageFile

from vitrine_client import InvalidInput
from vitrine_client.images import JPEG_QUALITY, ImageOptions, encode_images


def smooth(width: int, height: int) -> Image.Image:
    rows, columns = np.mgrid[0:height, 0:width]
    pixels = np.stack([columns * 255 / width, rows * 255 / height, (rows + columns) * 255 / (width + height)], axis=2)
    return Image.fromarray(pixels.astype(np.uint8))


def downscaled(picture: object, max_side: int) -> Image.Image:
    [sent] = encode_images([picture], ImageOptions(max_side=max_side))
    read = Image.open(io.BytesIO(sent))
    read.load()
    return read


def quantization(quality: int) -> dict[int, list[int]]:
    read = Image.open(io.BytesIO(saved(Image.new("RGB", (8, 8)), "JPEG", quality=quality)))
    assert isinstance(read, JpegImageFile)
    return read.quantization


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF"])
@pytest.mark.parametrize(("size", "expected"), [((640, 480), (100, 75)), ((30, 300), (10, 100)), ((999, 2), (100, 1))])
def test_files_are_scaled_down_to_jpeg(format: str, size: tuple[int, int], expected: tuple[int, int]):
    image = smooth(*size)
    read = downscaled(saved(image, format), 100)
    assert (read.format, read.size) == ("JPEG", expected)
    assert read.quantization == quantization(JPEG_QUALITY)
    wanted = np.asarray(image.resize(expected, Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(np.asarray(read.convert("RGB")) - wanted).mean() < 8


@pytest.mark.parametrize("picture", [smooth(300, 200), np.asarray(smooth(300, 200)), smooth(300, 200).convert("L")])
def test_pil_images_and_arrays_are_scaled_down_to_jpeg(picture: object):
    read = downscaled(picture, 30)
    assert (read.format, read.size) == ("JPEG", (30, 20))
    if isinstance(picture, Image.Image):
        assert picture.size == (300, 200)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "BMP", "WEBP"])
@pytest.mark.parametrize("max_side", [64, 1000])
def test_files_small_enough_pass_untouched(format: str, max_side: int):
    content = saved(smooth(64, 48), format)
    assert encode_images([content], ImageOptions(max_side=max_side)) == [content]


def test_pil_images_and_arrays_small_enough_stay_without_loss():
    image = smooth(64, 48)
    for picture in (image, np.asarray(image)):
        read = downscaled(picture, 64)
        assert read.format == "PNG"
        np.testing.assert_array_equal(np.asarray(read), np.asarray(image))


def test_one_pixel_is_enough():
    assert downscaled(saved(smooth(640, 480), "JPEG"), 1).size == (1, 1)


@pytest.mark.parametrize("max_side", [3, None])
def test_a_picture_without_pixels_is_refused(max_side: int | None):
    with pytest.raises(InvalidInput, match=r"^images\[0\]: a PIL image .*"):
        encode_images([Image.new("RGB", (0, 5))], ImageOptions(max_side=max_side))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16"])
def test_modes_that_jpeg_does_not_hold_are_converted(encode: Callable[..., bytes], mode: str):
    content = encode(mode, "PNG", (90, 60))
    read = downscaled(content, 45)
    assert (read.mode, read.size) == ("RGB" if mode in ("P", "RGBA") else "L", (45, 30))


def test_sixteen_bits_become_eight_as_tensorflow_reduces_them():
    rows = np.arange(100, dtype=np.uint16) * 655
    read = downscaled(saved(Image.fromarray(np.tile(rows, (100, 1))), "PNG"), 50)
    expected = (rows >> 8).reshape(50, 2).mean(axis=1)
    assert np.abs(np.asarray(read).astype(int).mean(axis=0) - expected).max() < 3


def test_alpha_is_dropped_and_the_colors_under_it_stay():
    image = smooth(200, 100).convert("RGBA")
    image.putalpha(0)
    read = downscaled(saved(image, "PNG"), 100)
    wanted = np.asarray(smooth(200, 100).resize((100, 50))).astype(int)
    assert np.abs(np.asarray(read) - wanted).mean() < 4


def test_inks_become_colors():
    content = saved(smooth(200, 100).convert("CMYK"), "JPEG")
    read = downscaled(content, 100)
    assert read.mode == "RGB"
    wanted = np.asarray(smooth(200, 100).resize((100, 50))).astype(int)
    assert np.abs(np.asarray(read) - wanted).mean() < 6


def test_of_an_animation_the_first_frame_is_sent():
    frames = [smooth(200, 100), smooth(200, 100).transpose(Image.Transpose.ROTATE_180)]
    for format in ("GIF", "PNG", "WEBP"):
        read = downscaled(saved(frames[0], format, save_all=True, append_images=frames[1:]), 50)
        wanted = np.asarray(frames[0].resize((50, 25))).astype(int)
        assert np.abs(np.asarray(read.convert("RGB")) - wanted).mean() < 12, format


def test_palettes_with_transparency_cause_no_warning():
    image = smooth(200, 100).quantize(16)
    content = saved(image, "PNG", transparency=bytes(range(0, 256, 16)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert downscaled(content, 50).size == (50, 25)


def test_a_broken_picture_that_must_be_scaled_down_is_refused_by_position(encode: Callable[..., bytes]):
    good = encode(format="JPEG")
    broken = good[: len(good) // 2] + b"\xff\xd9"
    for check in ("quick", "off"):
        with pytest.raises(InvalidInput, match=r"^images\[1\]: .*cannot be decoded.*leave it out"):
            encode_images([good[:], b"\x89PNG\r\n\x1a\n" + broken], ImageOptions(max_side=10, check=check))


def test_camera_photos_look_the_same(shared_data: Path):
    for path in sorted((shared_data / "large_photos").glob("*.jpg")):
        [sent] = encode_images([path], ImageOptions(max_side=512))
        read = Image.open(io.BytesIO(sent))
        assert max(read.size) == 512
        with Image.open(path) as photo:
            wanted = ImageOps.exif_transpose(photo).resize(read.size, Image.Resampling.BICUBIC)
        assert np.abs(np.asarray(read).astype(int) - np.asarray(wanted)).mean() < 6, path
        assert len(sent) < path.stat().st_size / 4
