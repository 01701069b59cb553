"""Broken pictures are found before anything is sent, and no good one is taken for broken."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile

from vitrine_client import InvalidInput
from vitrine_client.images import ImageOptions, encode_image, encode_images

SUFFIXES = {".jpg", ".jpeg", ".png"}
# What nobody decodes, by how much it takes to find it.
BROKEN_IN_STRUCTURE = {
    "666.jpg",
    "11702.jpg",
    "its_19453136_193x31423_in_613_bytes.jpg",
    "its_28968137_truncated_header.jpg",
    "its_32d08f4a_truncated_3484x2347.jpg",
    "its_3cc4a7fc_unidentified.jpg",
    "mei_beach_unidentified.jpg",
    "pillow_broken_data_stream.png",
    "pillow_truncated_jpeg.jpg",
}
BROKEN_IN_DATA = {"its_40bb78b1_broken_stream_1280x960.jpg"}
# Pillow decodes it, TensorFlow does not: it is sent as Pillow sees it.
ODD_INKS = "its_5482a546_cmyk_pil_ok.jpg"


def decodes(content: bytes) -> bool:
    import tensorflow as tf

    try:
        tf.io.decode_image(content, channels=3, expand_animations=False)
    except tf.errors.InvalidArgumentError:
        return False
    return True


def refused(pictures: list[Any], check: str) -> str:
    with pytest.raises(InvalidInput) as info:
        encode_images(pictures, ImageOptions(check=check))
    return str(info.value)


def files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)


def test_no_good_picture_of_the_shared_data_is_refused_or_touched(shared_data: Path):
    odd = shared_data / "cats_vs_dogs" / "corrupt_and_odd"
    # Those of large_photos lie on their side in part: tests of EXIF have them.
    folders = [shared_data / name for name in ("cats_vs_dogs", "dog_breeds", "flowers")]
    paths = [path for folder in folders for path in files_in(folder) if odd not in path.parents]
    assert len(paths) > 1000
    assert encode_images(paths, ImageOptions(check="full")) == [path.read_bytes() for path in paths]
    assert encode_images(paths, ImageOptions(check="quick")) == [path.read_bytes() for path in paths]


@pytest.mark.parametrize("check", ["quick", "full"])
def test_broken_files_are_found(shared_data: Path, check: str):
    paths = files_in(shared_data / "cats_vs_dogs" / "corrupt_and_odd")
    found, passed = set(), {}
    for position, path in enumerate(paths):
        try:
            passed[path.name] = encode_image(path, position, ImageOptions(check=check))
        except InvalidInput as error:
            assert str(error).startswith(f"images[{position}]: {str(path)!r} ")
            found.add(path.name)
    assert found == (BROKEN_IN_STRUCTURE | BROKEN_IN_DATA if check == "full" else BROKEN_IN_STRUCTURE)
    missed = {name for name, content in passed.items() if not decodes(content)}
    assert missed == (set() if check == "full" else BROKEN_IN_DATA)
    changed = {path.name for path in paths if path.name in passed and passed[path.name] != path.read_bytes()}
    assert changed == {ODD_INKS}


def test_auto_decodes_where_pictures_share_a_request(shared_data: Path):
    [name] = BROKEN_IN_DATA
    broken = shared_data / "cats_vs_dogs" / "corrupt_and_odd" / "other" / name
    good = next((shared_data / "flowers").rglob("*.jpg"))
    assert encode_images([broken]) == [broken.read_bytes()]
    assert encode_image(broken, 0, ImageOptions(), alone=True) == broken.read_bytes()
    with pytest.raises(InvalidInput, match=rf"^images\[1\]: '.*{name}' cannot be decoded: .*leave it out"):
        encode_images([good, broken])
    assert encode_images([good, broken], ImageOptions(check="quick")) == [good.read_bytes(), broken.read_bytes()]


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "BMP", "WEBP"])
@pytest.mark.parametrize("kept", [0.02, 0.5, 0.99])
@pytest.mark.parametrize("check", ["quick", "full"])
def test_files_that_were_cut_off_are_refused(encode: Callable[..., bytes], format: str, kept: float, check: str):
    content = encode(format=format, size=(200, 150))
    cut = content[: int(len(content) * kept)]
    message = refused([cut], check)
    assert message.startswith(f"images[0]: a picture of {len(cut)} bytes ")
    assert "cannot be decoded" in message or "no picture of a known format" in message


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_without_its_end_is_refused(encode: Callable[..., bytes], progressive: bool):
    content = encode(format="JPEG", progressive=progressive)
    for cut in (content[:-1], content[:-2]):
        assert not decodes(cut)
        assert "cannot be decoded" in refused([cut], "quick")


def test_what_pillow_alone_decodes_is_sent_as_pillow_decodes_it(encode: Callable[..., bytes]):
    jpeg_padded, png_without_end = encode(format="JPEG")[:-2] + bytes(1000), encode()[:-12]
    for content in (jpeg_padded, png_without_end):
        assert not decodes(content)
        [sent] = encode_images([content])
        assert decodes(sent)
        pixels = [np.asarray(Image.open(io.BytesIO(file))).astype(int) for file in (content, sent)]
        assert np.abs(pixels[0] - pixels[1]).mean() < 12


@pytest.mark.parametrize("tail", [b"\0" * 5000, b"\n", b"garbage" * 99, b"\xff" * 9])
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_bytes_behind_the_end_of_a_picture_do_no_harm(encode: Callable[..., bytes], format: str, tail: bytes):
    content = encode(format=format) + tail
    assert decodes(content)
    for check in ("quick", "full"):
        assert encode_images([content], ImageOptions(check=check)) == [content]


@pytest.mark.parametrize("check", ["quick", "full"])
def test_stray_bytes_between_segments_do_no_harm(encode: Callable[..., bytes], check: str):
    plain = encode(format="JPEG")
    content = plain[:20] + b"stray\xff\x00" + plain[20:]
    assert decodes(content)
    assert encode_images([content], ImageOptions(check=check)) == [content]


@pytest.mark.parametrize("pictures", [[b"GIF89a is no picture"], [b"nonsense"], [b"<svg/>"], [b"%!PS-Adobe EPSF-3.0"]])
def test_unknown_bytes_are_refused_naming_what_is_taken(pictures: list[bytes]):
    message = refused(pictures, "quick")
    assert "cannot be decoded" in message or ("JPEG, PNG, GIF" in message and "check='off'" in message)


@pytest.mark.parametrize("position", [3, 40, 200, 900])
def test_a_damaged_png_is_found_by_the_full_check(encode: Callable[..., bytes], position: int):
    content = bytearray(encode(size=(60, 40)))
    content[position] ^= 0xFF
    assert not decodes(bytes(content))
    assert "cannot be decoded" in refused([bytes(content)], "full") or position == 3


def test_off_passes_whatever_it_gets(tmp_path: Path, encode: Callable[..., bytes]):
    turned = Image.Exif()
    turned[0x0112] = 6
    path = tmp_path / "model input"
    path.write_bytes(b"anything\x00")
    off = ImageOptions(check="off")
    lying = encode(format="JPEG", exif=turned)
    assert encode_images([path, b"other", lying], off) == [b"anything\x00", b"other", lying]
    path.write_bytes(b"")
    with pytest.raises(InvalidInput, match=r"images\[0\]: .*empty"):
        encode_images([path], off)
    array = np.zeros((3, 4, 3), np.uint8)
    assert Image.open(io.BytesIO(encode_images([array], off)[0])).format == "PNG"


def test_the_full_check_asks_no_more_than_a_decoder_does(encode: Callable[..., bytes]):
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    for mode, format in [("L", "JPEG"), ("CMYK", "JPEG"), ("RGB", "JPEG"), ("I;16", "PNG"), ("P", "GIF"), ("1", "PNG")]:
        content = encode(mode, format, (1, 1))
        assert decodes(content)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert encode_images([content], ImageOptions(check="full")) == [content]
