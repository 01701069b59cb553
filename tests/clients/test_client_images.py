"""Pictures of many kinds, and what is said about those that are none."""

from __future__ import annotations

import io
import os
import typing
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitrine_client import ImageLike, InvalidInput
from vitrine_client.images import ImageOptions, encode_image, encode_images, picture_list

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)


def decoded(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


@pytest.fixture
def jpeg(encode: Callable[..., bytes]) -> bytes:
    return encode(format="JPEG")


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "BMP", "WEBP"])
def test_files_of_the_usual_formats_pass_untouched(tmp_path: Path, encode: Callable[..., bytes], format: str):
    content = encode(format=format)
    path = tmp_path / "picture.anything"
    path.write_bytes(content)
    pictures = [path, str(path), content, bytearray(content), memoryview(content), io.BytesIO(content)]
    with path.open("rb") as file:
        assert encode_images([*pictures, file]) == [content] * 7


def test_an_open_file_is_read_once_from_where_it_stands(jpeg: bytes):
    file = io.BytesIO(b"header" + jpeg)
    file.seek(6)
    assert encode_images([file]) == [jpeg]
    with pytest.raises(InvalidInput, match=r"images\[0\]: .*nothing left to read.*seek\(0\)"):
        encode_images([file])


def test_any_iterable_will_do(jpeg: bytes):
    assert encode_images(picture for picture in (jpeg, jpeg)) == [jpeg, jpeg]
    assert encode_images((jpeg,)) == [jpeg]


def test_a_list_of_pictures_is_not_consumed(jpeg: bytes):
    pictures = iter([jpeg, jpeg])
    assert picture_list(pictures) is pictures
    assert next(pictures) is jpeg


def test_arrays_keep_every_pixel():
    color, gray, channel = encode_images([PIXELS, PIXELS[:, :, 0], PIXELS[:, :, :1]])
    np.testing.assert_array_equal(decoded(color), PIXELS)
    np.testing.assert_array_equal(decoded(gray), PIXELS[:, :, 0])
    np.testing.assert_array_equal(decoded(channel), PIXELS[:, :, 0])


def test_arrays_that_are_views_keep_every_pixel():
    [mirrored] = encode_images([PIXELS[:, ::-1]])
    np.testing.assert_array_equal(decoded(mirrored), PIXELS[:, ::-1])


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_pil_images_keep_every_pixel(mode: str):
    image = Image.fromarray(PIXELS).convert(mode)
    [encoded] = encode_images([image])
    read = Image.open(io.BytesIO(encoded))
    assert read.format == "PNG"
    np.testing.assert_array_equal(np.asarray(read.convert("RGBA")), np.asarray(image.convert("RGBA")))


@pytest.mark.parametrize(
    "single",
    ["rose.jpg", Path("rose.jpg"), b"bytes", io.BytesIO(b"file"), PIXELS, PIXELS[None], Image.fromarray(PIXELS)],
)
def test_a_single_picture_is_refused_with_the_way_out(single: object):
    with pytest.raises(InvalidInput, match=r"write \[picture\]"):
        encode_images(single)


@pytest.mark.parametrize("nothing", [[], (), iter(())])
def test_no_picture_is_refused(nothing: object):
    with pytest.raises(InvalidInput, match="nothing to classify"):
        encode_images(nothing)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (PIXELS / 255, "float64.*astype"),
        (PIXELS.astype(np.int64), "int64"),
        (PIXELS[None], r"\(1, 5, 7, 3\).*\(H, W, 3\)"),
        (np.zeros((5, 7, 4), np.uint8), r"\(5, 7, 4\)"),
        (np.zeros((0, 7), np.uint8), r"\(0, 7\)"),
        (np.zeros(5, np.uint8), r"\(5,\)"),
        (b"", "no bytes"),
        (None, "NoneType is not a picture"),
        (io.StringIO("text"), "open for text.*'rb'"),
        (Image.new("CMYK", (2, 2)), r"mode CMYK.*convert\('RGB'\)"),
        (Image.new("F", (2, 2)), "mode F"),
        (Image.new("RGB", (0, 2)), "cannot be encoded"),
    ],
)
def test_what_is_no_picture_is_refused_by_position(jpeg: bytes, wrong: object, reason: str):
    with pytest.raises(InvalidInput, match=rf"^images\[1\]: .*{reason}"):
        encode_images([jpeg, wrong])


def test_files_that_cannot_be_read_are_refused_by_position_and_path(tmp_path: Path, jpeg: bytes):
    empty = tmp_path / "empty.png"
    empty.touch()
    for path, reason in [
        (tmp_path / "missing.png", "No such file"),
        (tmp_path, "directory"),
        (empty, "empty file"),
        ("a\x00b", "null"),
    ]:
        with pytest.raises(InvalidInput, match=rf"^images\[1\]: .*{reason}") as info:
            encode_images([jpeg, path])
        assert repr(str(path)) in str(info.value)


def test_a_path_is_named_as_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "e.jpg").touch()
    with pytest.raises(InvalidInput, match=r"^images\[0\]: '\./e\.jpg' is an empty file"):
        encode_images(["./e.jpg"])


def test_a_missing_file_whose_path_is_bytes_is_refused_by_name():
    class Entry(os.PathLike[bytes]):
        def __fspath__(self) -> bytes:
            return b"missing.jpg"

    with pytest.raises(InvalidInput, match=r"^images\[0\]: cannot read .*missing\.jpg.*No such file"):
        encode_images([Entry()])


def test_what_is_no_regular_file_is_refused_before_it_is_opened(tmp_path: Path, jpeg: bytes):
    pipe = tmp_path / "pipe.jpg"
    os.mkfifo(pipe)
    # Whoever opens a pipe waits for somebody to write to it.
    for path in (os.devnull, pipe):
        with pytest.raises(InvalidInput, match=r"^images\[1\]: .* is no regular file: .*give the bytes") as info:
            encode_images([jpeg, path])
        assert repr(str(path)) in str(info.value)


def test_a_closed_file_is_refused_by_its_name(tmp_path: Path):
    path = tmp_path / "picture.png"
    path.touch()
    file = path.open("rb")
    file.close()
    with pytest.raises(InvalidInput, match=r"^images\[0\]: cannot read the file .*picture\.png.*closed"):
        encode_images([file])


def test_a_truncated_pil_image_is_refused(tmp_path: Path):
    path = tmp_path / "truncated.jpg"
    buffer = io.BytesIO()
    Image.fromarray(np.resize(PIXELS, (200, 200, 3))).save(buffer, "JPEG")
    path.write_bytes(buffer.getvalue()[:3000])
    with Image.open(path) as image, pytest.raises(InvalidInput, match=r"^images\[0\]: .*cannot be encoded"):
        encode_images([image])


def test_something_that_cannot_be_iterated_is_refused():
    with pytest.raises(InvalidInput, match="int where a list of pictures belongs"):
        encode_images(3)


def test_one_picture_is_named_by_the_position_it_is_given():
    with pytest.raises(InvalidInput, match=r"^images\[41\]: "):
        encode_image(b"nonsense", 41, ImageOptions())


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"max_side": 0}, "max_side=0.*whole number"),
        ({"max_side": 12.5}, "max_side=12.5"),
        ({"max_side": True}, "max_side=True"),
        ({"max_side": "512"}, "max_side='512'"),
        ({"check": "thorough"}, "check='thorough'.*'auto', 'quick', 'full', 'off'"),
        ({"check": ["full"]}, "check="),
        ({"allow_urls": "yes"}, "allow_urls='yes'"),
    ],
)
def test_options_that_cannot_be_used_are_refused(options: dict[str, object], reason: str):
    with pytest.raises(InvalidInput, match=reason):
        ImageOptions(**options)


def test_numpy_numbers_will_do_as_max_side():
    assert ImageOptions(max_side=np.int64(300)) == ImageOptions(max_side=300)


def test_annotations_of_a_users_own_can_be_made_of_what_a_picture_is():
    def shown(image: ImageLike, other: ImageLike | None = None) -> None: ...

    hints = typing.get_type_hints(shown)
    assert hints["other"] == ImageLike | None
    assert {str, bytes, Image.Image} < set(typing.get_args(hints["image"]))


def test_the_annotations_of_functions_that_take_pictures_can_be_resolved():
    hints = typing.get_type_hints(encode_images)
    assert typing.get_args(hints["images"]) == (ImageLike,)
