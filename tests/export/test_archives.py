"""Archives are unpacked whole or not at all, and not where they lead out of their folder."""

from __future__ import annotations

import io
import random
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from vitrine_export.archives import ArchiveError, unpack

Entry = tuple[tarfile.TarInfo, bytes]


def entry(name: str, data: bytes = b"data", **attributes: object) -> Entry:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in attributes.items():
        setattr(info, key, value)
    return info, data


def tar_of(path: Path, *entries: Entry, mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as tar:
        for info, data in entries:
            tar.addfile(info, io.BytesIO(data))
    return path


def zip_of(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, data in files.items():
            zipped.writestr(name, data)
    return path


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("mode", ["w:gz", "w"])
def test_a_tar_is_unpacked_without_modes_and_owners(tmp_path: Path, mode: str) -> None:
    entries = [entry("./top/", b"", type=tarfile.DIRTYPE), entry("./top/a/1.txt", mode=0o6777, uid=0), entry("./b.txt")]
    archive = tar_of(tmp_path / "x.bin", *entries, mode=mode)
    assert unpack(archive, tmp_path / "out") == 2
    assert tree(tmp_path / "out") == {"top/a/1.txt": b"data", "b.txt": b"data"}
    assert not (tmp_path / "out/top/a/1.txt").stat().st_mode & (stat.S_ISUID | stat.S_IXUSR)


def test_the_top_folder_is_taken_off_and_the_rest_left_out(tmp_path: Path, capfd) -> None:
    files = {"pets/Cat/0.jpg": b"c", "pets/Dog/0.jpg": b"d", "pets/note.txt": b"n", "readme.txt": b"r"}
    archive = zip_of(tmp_path / "pets.zip", files)
    assert unpack(archive, tmp_path / "out", top="pets", only=["Cat", "Dog"]) == 2
    assert tree(tmp_path / "out") == {"Cat/0.jpg": b"c", "Dog/0.jpg": b"d"}
    assert "unpacking pets.zip" in capfd.readouterr().err


def test_an_archive_of_something_else_is_named(tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "x.zip", {"cats/1.jpg": b"", "dogs/1.jpg": b""})
    with pytest.raises(ArchiveError, match=r"x\.zip: no file in pets was found, but cats, dogs"):
        unpack(archive, tmp_path / "out", top="pets")
    assert not (tmp_path / "out").exists()


ATTACKS: dict[str, Entry] = {
    "absolute": entry("/tmp/vitrine-attack"),
    "upwards": entry("a/../../attack"),
    "backslash": entry("..\\attack"),
    "symlink": entry("link", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
    "symlink within": entry("link", b"", type=tarfile.SYMTYPE, linkname="first.txt"),
    "hard link": entry("link", b"", type=tarfile.LNKTYPE, linkname="/etc/passwd"),
    "device": entry("null", b"", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
    "pipe": entry("pipe", b"", type=tarfile.FIFOTYPE),
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
def test_what_leads_out_of_the_folder_is_not_unpacked(tmp_path: Path, attack: Entry) -> None:
    archive = tar_of(tmp_path / "x.tar.gz", entry("first.txt"), attack)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "before.txt").write_text("kept")
    with pytest.raises(ArchiveError, match=r"x\.tar\.gz: not unpacked"):
        unpack(archive, tmp_path / "out")
    assert tree(tmp_path / "out") == {"before.txt": b"kept"}
    assert left_in(tmp_path) == ["out", "x.tar.gz"]


@pytest.mark.parametrize("name", ["/tmp/vitrine-attack", "../attack", "a/../../attack", "..\\attack"])
def test_what_leads_out_of_the_folder_is_not_unpacked_from_a_zip(tmp_path: Path, name: str) -> None:
    archive = zip_of(tmp_path / "x.zip", {"first.txt": b"", name: b"data"})
    with pytest.raises(ArchiveError, match=r"may lead out of the folder"):
        unpack(archive, tmp_path / "out")
    assert left_in(tmp_path) == ["x.zip"]


def test_a_link_in_a_zip_is_not_unpacked(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as zipped:
        zipped.writestr(link, "/etc/passwd")
    with pytest.raises(ArchiveError, match="'link' in it is a link or a device"):
        unpack(tmp_path / "x.zip", tmp_path / "out")


Make = Callable[[Path], Path]
BOMBS: dict[str, Make] = {
    "large tar": lambda path: tar_of(path, *(entry(f"{i}", bytes(2**18)) for i in range(5))),
    "large zip": lambda path: zip_of(path, {f"{i}": bytes(2**18) for i in range(5)}),
    "many in a tar": lambda path: tar_of(path, *(entry(f"{i}", b"") for i in range(101))),
    "many in a zip": lambda path: zip_of(path, {f"{i}": b"" for i in range(101)}),
}


@pytest.mark.parametrize("make", BOMBS.values(), ids=BOMBS.keys())
def test_a_bomb_is_stopped(tmp_path: Path, make: Make) -> None:
    archive = make(tmp_path / "bomb")
    with pytest.raises(ArchiveError, match="holds more than 100 files or 1048576 bytes"):
        unpack(archive, tmp_path / "out", max_bytes=2**20, max_files=100)
    assert left_in(tmp_path) == ["bomb"]


def test_a_header_that_would_fill_the_memory_is_stopped(tmp_path: Path) -> None:
    archive = tar_of(tmp_path / "x.tar.gz", entry("long", bytes(2**25), type=tarfile.GNUTYPE_LONGNAME), entry("a"))
    with pytest.raises(ArchiveError, match="a header of it is too long"):
        unpack(archive, tmp_path / "out")


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_a_cut_off_archive_is_told_and_nothing_left(tmp_path: Path, kind: str) -> None:
    data = random.Random(1).randbytes(50_000)
    archive = tmp_path / "x"
    if kind == "tar":
        tar_of(archive, entry("a", data), entry("b", data))
    else:
        zip_of(archive, {"a": data, "b": data})
    archive.write_bytes(archive.read_bytes()[:70_000])
    with pytest.raises(ArchiveError, match=r"damaged .*; remove it and try again"):
        unpack(archive, tmp_path / "out")
    assert left_in(tmp_path) == ["x"]


def test_flipped_bits_are_found(tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "x.zip", {"a": random.Random(1).randbytes(50_000)})
    data = bytearray(archive.read_bytes())
    data[20_000] ^= 255
    archive.write_bytes(data)
    with pytest.raises(ArchiveError, match="damaged"):
        unpack(archive, tmp_path / "out")


def test_what_is_no_archive_is_told(tmp_path: Path) -> None:
    archive = tmp_path / "x.zip"
    archive.write_bytes(b"<!DOCTYPE html>")
    with pytest.raises(ArchiveError, match=r"neither tar\.gz nor zip, it begins with b'<!DO'"):
        unpack(archive, tmp_path / "out")


def test_a_folder_that_cannot_be_unpacked_to_is_told(tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "x.zip", {"a": b""})
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ArchiveError, match=r"cannot unpack .*: File exists"):
        unpack(archive, tmp_path / "file" / "out")
