"""Which bytes the page sends for a picture: the file's own, or a new JPEG that shows what people see."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from browser import Browser, Page
from PIL import Image, features
from ui_pages import cards, open_page
from ui_site import Site
from ui_standin import Standin

_ORIENTATION = 0x0112


@pytest.fixture
def page(browser: Browser, site: Site, standin: Standin) -> Iterator[Page]:
    page = open_page(browser, site)
    yield page
    page.close()


def sent(standin: Standin) -> bytes:
    (body,) = (body for body in standin.bodies if body)
    ((name, text),) = json.loads(body)["instances"][0].items()
    assert name == "b64"
    return base64.b64decode(text, validate=True)


def left_is_red(path: Path, size: tuple[int, int] = (64, 32), orientation: int | None = None) -> Path:
    """A picture whose left half is red, the other one blue."""
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    pixels[:, : size[0] // 2, 0] = 255
    pixels[:, size[0] // 2 :, 2] = 255
    exif = Image.Exif()
    if orientation:
        exif[_ORIENTATION] = orientation
    Image.fromarray(pixels).save(path, exif=exif)
    return path


@pytest.mark.parametrize(("name", "orientation"), [("a.jpg", None), ("a.jpg", 1), ("a.png", None), ("a.webp", None)])
def test_what_the_server_reads_is_sent_byte_for_byte(
    page: Page, standin: Standin, tmp_path: Path, name: str, orientation: int | None
) -> None:
    path = left_is_red(tmp_path / name, orientation=orientation)
    page.choose_files("#files", path)
    assert "Sent as" not in cards(page)[0]["about"]
    assert sent(standin) == path.read_bytes()


@pytest.mark.parametrize(
    ("orientation", "size", "red", "blue"),
    [
        (2, (64, 32), (60, 16), (4, 16)),
        (3, (64, 32), (60, 16), (4, 16)),
        (6, (32, 64), (16, 4), (16, 60)),
        (8, (32, 64), (16, 60), (16, 4)),
    ],
)
def test_a_photo_on_its_side_is_turned(
    page: Page,
    standin: Standin,
    tmp_path: Path,
    orientation: int,
    size: tuple[int, int],
    red: tuple[int, int],
    blue: tuple[int, int],
) -> None:
    page.choose_files("#files", left_is_red(tmp_path / "photo.jpg", orientation=orientation))
    about = cards(page)[0]["about"]
    assert f"new JPEG, {size[0]} \u00d7 {size[1]}" in about
    assert "turned upright, as its EXIF data says" in about
    with Image.open(io.BytesIO(sent(standin))) as picture:
        assert (picture.format, picture.size) == ("JPEG", size)
        assert picture.getexif().get(_ORIENTATION, 1) == 1
        assert picture.getpixel(red)[0] > 200 > 50 > picture.getpixel(red)[2]
        assert picture.getpixel(blue)[2] > 200 > 50 > picture.getpixel(blue)[0]


def test_photos_of_real_cameras_arrive_upright(page: Page, standin: Standin, shared_data: Path) -> None:
    for path in sorted((shared_data / "large_photos").glob("*.jpg")):
        with Image.open(path) as photo:
            if photo.getexif().get(_ORIENTATION, 1) in (6, 8):
                break
    else:
        pytest.fail("no photo on its side among them")
    page.choose_files("#files", path)
    cards(page)
    with Image.open(io.BytesIO(sent(standin))) as picture:
        assert picture.height > picture.width
        assert picture.height <= 2048


def test_a_large_file_is_made_smaller(
    page: Page, standin: Standin, tmp_path: Path, encode: Callable[..., bytes]
) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(encode("RGB", "PNG", (2200, 1100)))
    assert path.stat().st_size > 4_000_000
    page.choose_files("#files", path)
    assert "2048 \u00d7 1024" in (about := cards(page)[0]["about"])
    assert "the file is larger than 4 MB" in about
    with Image.open(io.BytesIO(sent(standin))) as picture:
        assert (picture.format, picture.size) == ("JPEG", (2048, 1024))


def test_a_format_of_the_browser_alone_is_redrawn(page: Page, standin: Standin, tmp_path: Path) -> None:
    if not features.check("avif"):
        pytest.skip("needs a Pillow that writes AVIF")
    page.choose_files("#files", left_is_red(tmp_path / "new.avif"))
    assert "the server does not read the file's format" in cards(page)[0]["about"]
    with Image.open(io.BytesIO(sent(standin))) as picture:
        assert (picture.format, picture.size) == ("JPEG", (64, 32))


def test_what_nobody_can_read_is_left_to_the_server(page: Page, standin: Standin, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(b"no picture")
    page.drop_files(20, 600, path)
    cards(page)
    assert sent(standin) == b"no picture"


def test_a_file_beyond_all_limits_is_not_read(page: Page, standin: Standin, tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    with path.open("wb") as file:
        file.truncate(65_000_000)
    page.drop_files(20, 600, path)
    assert cards(page)[0]["trouble"] == "The file has 65 MB; pictures up to 64 MB can be sent."
    assert ":predict" not in str(standin.asked)


def test_what_the_web_server_refuses_is_said_in_words(page: Page, standin: Standin, tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(bytes(30_000_000))
    page.drop_files(20, 600, path)
    assert "larger than 32 MB" in cards(page)[0]["trouble"]
