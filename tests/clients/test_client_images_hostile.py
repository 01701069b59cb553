"""Whatever the bytes are: an answer or InvalidInput, no other error, no warning, no memory spent on claims."""

from __future__ import annotations

import contextlib
import struct
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from client_images import saved
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vitrine_client import InvalidInput
from vitrine_client.images import ImageOptions, encode_image, encode_images

OPTIONS = [ImageOptions(check="quick"), ImageOptions(check="full"), ImageOptions(max_side=8)]


def files_of_many_kinds() -> list[bytes]:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 6, 3), np.uint8)
    image = Image.fromarray(pixels).resize((24, 20))
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "described"
    kinds = [
        ("RGB", "JPEG", {"exif": exif}),
        ("L", "JPEG", {"progressive": True, "comment": b"comment"}),
        ("CMYK", "JPEG", {}),
        ("RGBA", "PNG", {"exif": exif}),
        ("P", "PNG", {"save_all": True, "append_images": [image.convert("P").rotate(90)]}),
        ("P", "GIF", {"save_all": True, "append_images": [image.convert("P").rotate(90)]}),
        ("RGB", "BMP", {}),
        ("RGB", "WEBP", {"exif": exif}),
        ("RGBA", "WEBP", {"lossless": True}),
        ("RGB", "TIFF", {"exif": exif, "compression": "tiff_lzw"}),
        ("RGB", "MPO", {"save_all": True, "append_images": [image.rotate(90)]}),
        ("RGB", "ICO", {"sizes": [(24, 20)]}),
    ]
    return [saved(image.convert(mode), format, **options) for mode, format, options in kinds]


BASE_FILES = files_of_many_kinds()


@st.composite
def damaged_files(draw: st.DrawFn) -> bytes:
    content = bytearray(draw(st.sampled_from(BASE_FILES)))
    for _ in range(draw(st.integers(1, 6))):
        # Most of what a decoder decides on stands in front.
        front = draw(st.booleans())
        at = draw(st.integers(0, min(len(content), 80 if front else len(content))))
        kind = draw(st.sampled_from(["change", "cut", "insert", "repeat", "end"]))
        if kind == "change":
            content[at : at + 1] = bytes([draw(st.integers(0, 255))])
        elif kind == "cut":
            del content[at : at + draw(st.integers(1, 20))]
        elif kind == "insert":
            content[at:at] = draw(st.binary(max_size=8))
        elif kind == "repeat":
            content[at:at] = content[at : at + draw(st.integers(1, 200))]
        else:
            del content[max(at, 2) :]
    return bytes(content)


@settings(max_examples=400, deadline=None)
@given(content=damaged_files(), options=st.sampled_from(OPTIONS))
def test_damaged_files_give_an_answer_or_invalid_input(content: bytes, options: ImageOptions):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            sent = encode_image(content, 3, options)
        except InvalidInput as error:
            assert str(error).startswith("images[3]: ")
        else:
            assert sent


@settings(max_examples=200, deadline=None)
@given(
    magic=st.sampled_from([b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"RIFF0000WEBPVP8", b"II*\0", b""]),
    rest=st.binary(max_size=300),
    options=st.sampled_from(OPTIONS),
)
def test_random_bytes_give_an_answer_or_invalid_input(magic: bytes, rest: bytes, options: ImageOptions):
    with contextlib.suppress(InvalidInput):
        encode_image(magic + rest, 0, options)


def png_claiming(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(9999))) + chunk(b"IEND", b"")
    )


def jpeg_claiming(width: int, height: int) -> bytes:
    content = bytearray(saved(Image.new("RGB", (16, 16)), "JPEG"))
    at = content.index(b"\xff\xc0")
    content[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(content)


@pytest.mark.parametrize("options", OPTIONS[1:])
@pytest.mark.parametrize("content", [png_claiming(60000, 60000), jpeg_claiming(60000, 60000)])
def test_claims_of_too_many_pixels_are_refused(content: bytes, options: ImageOptions):
    with pytest.raises(InvalidInput, match=r"images\[0\]: .*claims 60000 x 60000 pixels.*178 million.*make it smaller"):
        encode_images([content], options)


def test_claims_in_formats_that_must_be_converted_are_refused():
    with pytest.raises(InvalidInput, match=r"images\[0\]: .*178956970 pixels"):
        encode_images([b"P6 60000 60000 255\n" + bytes(99)])


def test_large_pictures_that_are_allowed_cause_no_warning(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    image = Image.new("RGB", (15, 10))
    for format in ("JPEG", "PNG", "GIF", "BMP", "WEBP"):
        content = saved(image, format)
        assert encode_images([content], ImageOptions(check="full")) == [content]
    assert encode_images([saved(image, "TIFF")])[0].startswith(b"\x89PNG")


def test_endless_segments_are_given_up():
    for filler in (b"\xff\xe1\x00\x02", b"\xff"):
        with pytest.raises(InvalidInput, match=r"images\[0\]: .*more than 65536 segments"):
            encode_images([b"\xff\xd8" + filler * 100_000])


def test_many_threads_at_once_get_what_one_gets_and_leave_the_warning_filters_alone():
    files = [content for content in BASE_FILES for _ in range(4)]
    before = list(warnings.filters)
    alone = [encode_images([content], OPTIONS[1]) for content in files]
    start = threading.Barrier(8)

    def work(number: int) -> list[list[bytes]]:
        start.wait()
        order = np.random.default_rng(number).permutation(len(files))
        answers = {place: encode_images([files[place]], OPTIONS[1]) for place in order.tolist()}
        return [answers[place] for place in range(len(files))]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == [alone] * 8
    assert warnings.filters == before
