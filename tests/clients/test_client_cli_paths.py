"""Which pictures `vitrine-client predict` finds behind its arguments."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from client_commands import run
from client_standins import PICTURE, RestStandin


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures at several depths, among other things."""
    names = [
        *("b.JPG", "a.png", "c.jpeg", "notes.txt", "photo.jfif", ".hidden.png"),
        *("below/d.gif", "below/e.bmp", "below/further/f.webp", "below/further/g.tiff", "below/further/h.tif"),
        *(".cache/i.png", "words/readme.md"),
    ]
    for name in names:
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(PICTURE)
    return tmp_path / "photos"


def found(roses: RestStandin, folder: Path, *arguments: object) -> list[str]:
    done = run("predict", *arguments, "--rest", roses.address, "--json")
    assert done.returncode == 0
    return [os.path.relpath(record["picture"], folder) for record in json.loads(done.stdout)]


EVERYTHING = [
    *("a.png", "b.JPG", "below/d.gif", "below/e.bmp"),
    *("below/further/f.webp", "below/further/g.tiff", "below/further/h.tif", "c.jpeg"),
]


def test_a_folder_stands_for_all_pictures_below_it(roses: RestStandin, folder: Path):
    assert found(roses, folder, folder) == EVERYTHING


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*", ["a.png", "b.JPG", "c.jpeg"]),
        ("[ab].*", ["a.png", "b.JPG"]),
        ("*.jfif", ["photo.jfif"]),
        (".*.png", [".hidden.png"]),
        ("*/*", ["below/d.gif", "below/e.bmp"]),
        ("**/*.tif*", ["below/further/g.tiff", "below/further/h.tif"]),
        ("**/further/?.webp", ["below/further/f.webp"]),
        ("**", EVERYTHING),
    ],
)
def test_a_pattern_stands_for_the_pictures_that_it_matches(
    roses: RestStandin, folder: Path, pattern: str, expected: list[str]
):
    assert found(roses, folder, folder / pattern) == expected


def test_arguments_keep_their_order_and_files_need_no_suffix(roses: RestStandin, folder: Path):
    asked = [folder / "below", folder / "notes.txt", folder / "*.png"]
    assert found(roses, folder, *asked) == [*EVERYTHING[2:7], "notes.txt", "a.png"]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(roses: RestStandin, folder: Path):
    (folder / "a[1].png").write_bytes(PICTURE)
    (folder / "a1.png").write_bytes(PICTURE)
    assert found(roses, folder, folder / "a[1].png") == ["a[1].png"]


def test_links_lead_to_folders_once_and_never_in_circles(roses: RestStandin, folder: Path, tmp_path: Path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "z.png").write_bytes(PICTURE)
    (folder / "linked").symlink_to(elsewhere)
    for name in ("up", "here"):
        (folder / "below" / name).symlink_to(folder)
        (elsewhere / name).symlink_to(elsewhere)
    assert found(roses, folder, folder) == [*EVERYTHING, "linked/z.png"]
    assert found(roses, folder, folder / "below" / "**" / "*.gif") == ["below/d.gif"]


@pytest.mark.parametrize("name", ["words", "words/*", "nowhere/*.png", "**/*.jpg.png"])
def test_where_no_picture_is_nothing_is_asked(roses: RestStandin, folder: Path, name: str):
    done = run("predict", folder / "a.png", folder / name, "--rest", roses.address, "--json")
    assert (done.returncode, done.stdout) == (1, "")
    [told] = done.stderr.splitlines()
    assert repr(str(folder / name)) in told
    assert "no picture" in told
    assert not roses.asked
