"""Pictures that a camera stored lying on their side arrive upright."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from client_images import saved
from PIL import Image, ImageOps

from vitrine_client.images import ImageOptions, encode_images

ORIENTATION = 0x0112
# How a picture has to be stored so that the orientation of this number makes it upright.
STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.fixture(scope="module")
def upright() -> Image.Image:
    """96 x 64 pixels without a symmetry, and smooth, so that JPEG keeps them."""
    rows, columns = np.mgrid[0:64, 0:96]
    return Image.fromarray(np.stack([columns * 2.6, rows * 3.9, (rows + columns) * 1.5], axis=2).astype(np.uint8))


def exif(orientation: int, order: str = ">") -> bytes:
    mark = b"MM\0*" if order == ">" else b"II*\0"
    return b"Exif\0\0" + mark + struct.pack(f"{order}IHHHIHHI", 8, 1, ORIENTATION, 3, 1, orientation, 0, 0)


def stored(upright: Image.Image, orientation: int) -> Image.Image:
    turn = STORED.get(orientation)
    return upright if turn is None else upright.transpose(turn)


def assert_upright(content: bytes, upright: Image.Image, tolerance: float) -> None:
    read = Image.open(io.BytesIO(content))
    assert read.getexif().get(ORIENTATION, 1) == 1
    assert read.size == upright.size
    difference = np.abs(np.asarray(read.convert("RGB")).astype(int) - np.asarray(upright)).mean()
    assert difference <= tolerance


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_jpeg_of_any_orientation_arrives_upright(upright: Image.Image, orientation: int, order: str):
    content = saved(stored(upright, orientation), "JPEG", quality=92, exif=exif(orientation, order))
    [sent] = encode_images([content])
    assert (sent == content) == (orientation == 1)
    assert_upright(sent, upright, tolerance=3)


@pytest.mark.parametrize(("format", "options"), [("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {})])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_other_formats_arrive_upright_without_loss(
    upright: Image.Image, orientation: int, format: str, options: dict[str, object]
):
    data = Image.Exif()
    data[ORIENTATION] = orientation
    [sent] = encode_images([saved(stored(upright, orientation), format, exif=data, **options)])
    assert_upright(sent, upright, tolerance=0)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pil_images_arrive_upright(upright: Image.Image, orientation: int):
    content = saved(stored(upright, orientation), "PNG", exif=exif(orientation))
    image = Image.open(io.BytesIO(content))
    [sent] = encode_images([image])
    assert_upright(sent, upright, tolerance=0)
    assert image.size == stored(upright, orientation).size, "the caller's image must stay as it is"


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("quality", [40, 75, 97])
def test_turning_a_jpeg_costs_hardly_any_quality_or_bytes(upright: Image.Image, quality: int, subsampling: int):
    content = saved(
        stored(upright, 6), "JPEG", quality=quality, subsampling=subsampling, exif=exif(6), comment=b"metadata" * 999
    )
    [sent] = encode_images([content])
    before, after = Image.open(io.BytesIO(content)), Image.open(io.BytesIO(sent))
    assert [np.reshape(table, (8, 8)).T.ravel().tolist() for table in after.quantization.values()] == [
        list(table) for table in before.quantization.values()
    ]
    turned = np.asarray(ImageOps.exif_transpose(before)).astype(int)
    assert np.abs(turned - np.asarray(after)).mean() < 1.5
    assert len(sent) < len(content) - 7000


def test_a_grey_jpeg_stays_grey(upright: Image.Image):
    [sent] = encode_images([saved(stored(upright, 6).convert("L"), "JPEG", exif=exif(6))])
    assert Image.open(io.BytesIO(sent)).mode == "L"
    assert Image.open(io.BytesIO(sent)).size == upright.size


@pytest.mark.parametrize(
    "broken",
    [
        b"Exif\0\0",
        b"Exif\0\0II*\0",
        b"Exif\0\0MM\0*\xff\xff\xff\xff",
        b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x01" * 40,
        exif(6)[:-8],
        exif(0),
        exif(9),
        exif(65535),
        exif(6).replace(b"MM\0*", b"XX\0*"),
        exif(6).replace(b"\x01\x12\x00\x03", b"\x01\x12\x00\x02"),
        b"Exif\0\0MM\0*\0\0\0\0" + exif(6)[10:],
        b"http://ns.adobe.com/xap/1.0/\0<broken",
    ],
)
@pytest.mark.parametrize("check", ["quick", "full"])
def test_broken_exif_data_is_no_error_and_turns_nothing(upright: Image.Image, broken: bytes, check: str):
    plain = saved(upright, "JPEG")
    content = plain[:2] + b"\xff\xe1" + struct.pack(">H", len(broken) + 2) + broken + plain[2:]
    assert encode_images([content], ImageOptions(check=check)) == [content]
    [sent] = encode_images([content], ImageOptions(check=check, max_side=48))
    assert Image.open(io.BytesIO(sent)).size == (48, 32)


def test_orientation_is_found_behind_other_segments(upright: Image.Image):
    plain = saved(stored(upright, 6), "JPEG")
    data = exif(6)
    others = b"\xff\xe2\x00\x0cother one." + b"\xff\xff\xff\xfe\x00\x06text"
    content = plain[:2] + others + b"\xff\xe1" + struct.pack(">H", len(data) + 2) + data + plain[2:]
    [sent] = encode_images([content])
    assert_upright(sent, upright, tolerance=3)


def test_photos_of_real_cameras_arrive_as_pillow_shows_them(shared_data: Path):
    turned = 0
    for path in sorted((shared_data / "large_photos").glob("*.jpg")):
        with Image.open(path) as photo:
            orientation = photo.getexif().get(ORIENTATION, 1)
            if orientation == 1:
                assert encode_images([path]) == [path.read_bytes()], path
                continue
            turned += 1
            shown = ImageOps.exif_transpose(photo)
            [sent] = encode_images([path])
            read = Image.open(io.BytesIO(sent))
            assert read.size == shown.size
            difference = np.asarray(read).astype(int) - np.asarray(shown)
            assert np.abs(difference).mean() < 2, path
    assert turned >= 2


def test_the_orientation_of_a_scaled_down_picture_is_applied_too(upright: Image.Image):
    content = saved(stored(upright, 6), "JPEG", quality=92, exif=exif(6))
    [sent] = encode_images([content], ImageOptions(max_side=48))
    assert_upright(sent, upright.resize((48, 32)), tolerance=4)
