"""Data sets become folders in the layout of the recipes: downloaded, put there by hand, or refused with the way out.

The servers and archives are small stand-ins for the real ones, which tests do not reach.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import socket
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from file_server import FileServer, file_server, kaggle_server
from processes import free_port

from vitrine_export.datasets.sources import ARCHIVES, Archive, downloads, provide
from vitrine_export.errors import DatasetError


@pytest.fixture
def server() -> Iterator[FileServer]:
    with file_server() as server:
        yield server


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own, and no Kaggle account."""
    monkeypatch.setenv("VITRINE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("VITRINE_MIRROR", raising=False)
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_API_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path / "home" / ".kaggle"))
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "kagglehub"))
    return tmp_path / "cache" / "downloads"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def tgz(files: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return file.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return file.getvalue()


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def small(name: str, content: bytes, url: str, *, published: bool = True) -> dict[str, Archive]:
    """The data set `name` as it is described, but for the size of its archive."""
    real = ARCHIVES[name]
    sha256 = hashlib.sha256(content).hexdigest() if published else None
    return {name: Archive(f"{url}/{real.name}", real.top, sha256, len(content))}


def test_flower_photos_become_class_folders(server: FileServer, data: Path, encode: Callable[..., bytes]) -> None:
    pictures = {
        f"flower_photos/{name}/{n}.jpg": encode(format="JPEG", seed=n) for name in ("daisy", "roses") for n in (1, 2)
    }
    content = tgz({"flower_photos/LICENSE.txt": b"CC BY", **pictures})
    server.files["/flower_photos.tgz"] = content
    provide("flower_photos", data / "flowers", small("flower_photos", content, server.url))
    assert files_in(data / "flowers") == {"LICENSE.txt", "daisy/1.jpg", "daisy/2.jpg", "roses/1.jpg", "roses/2.jpg"}
    assert (data / "flowers/daisy/1.jpg").read_bytes() == pictures["flower_photos/daisy/1.jpg"]
    assert files_in(data) == {f"flowers/{name}" for name in files_in(data / "flowers")}


def test_pet_images_become_cat_and_dog(server: FileServer, data: Path, encode: Callable[..., bytes]) -> None:
    pictures = {f"PetImages/{name}/0.jpg": encode(format="JPEG") for name in ("Cat", "Dog")}
    content = zipped({"PetImages/Cat/666.jpg": b"", **pictures, "readme[1].txt": b"", "CDLA-Permissive-2.0.pdf": b""})
    server.files["/kagglecatsanddogs_5340.zip"] = content
    provide("pet_images", data, small("pet_images", content, server.url))
    assert files_in(data) == {"Cat/0.jpg", "Cat/666.jpg", "Dog/0.jpg"}


def dog_images(encode: Callable[..., bytes], seed: int = 0) -> bytes:
    splits = ("train", "valid", "test")
    return zipped({f"dogImages/{split}/001.Affenpinscher/{seed}.jpg": encode(format="JPEG") for split in splits})


def test_dog_images_become_splits_and_their_sum_is_remembered(
    server: FileServer, data: Path, cache: Path, encode: Callable[..., bytes]
) -> None:
    content = dog_images(encode)
    server.files["/dogImages.zip"] = content
    archives = small("dog_images", content, server.url, published=False)
    provide("dog_images", data / "first", archives)
    assert files_in(data / "first") == {f"{split}/001.Affenpinscher/0.jpg" for split in ("train", "valid", "test")}
    sha256 = hashlib.sha256(content).hexdigest()
    assert (cache / "dogImages.zip.sha256").read_text() == f"{sha256}  dogImages.zip\n"

    (cache / "dogImages.zip").unlink()
    server.files["/dogImages.zip"] = dog_images(encode, seed=1)
    with pytest.raises(DatasetError, match=rf"expected {sha256}.*\(the sum of the first download, in .*\.sha256\)"):
        provide("dog_images", data / "second", archives)
    assert not (data / "second").exists()
    assert files_in(cache) == {"dogImages.zip.sha256"}


def test_what_is_no_archive_of_the_data_set_is_not_remembered(server: FileServer, data: Path, cache: Path) -> None:
    content = zipped({"other/1.jpg": b""})
    server.files["/dogImages.zip"] = content
    with pytest.raises(DatasetError, match=r"dogImages\.zip: no file in dogImages was found, but other"):
        provide("dog_images", data, small("dog_images", content, server.url, published=False))
    assert not data.exists()
    assert files_in(cache) == {"dogImages.zip"}


def test_a_mirror_must_have_the_published_file(server: FileServer, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = ARCHIVES["flower_photos"]
    server.files["/mirror/flower_photos.tgz"] = b"another"
    monkeypatch.setenv("VITRINE_MIRROR", f"{server.url}/mirror/")
    with pytest.raises(DatasetError, match=f"has 7 bytes, expected {real.size}: another file than it was"):
        provide("flower_photos", data)
    sha256 = hashlib.sha256(b"another").hexdigest()
    with pytest.raises(DatasetError, match=f"the SHA-256 of what came is {sha256}, expected {real.sha256}"):
        provide("flower_photos", data, {"flower_photos": Archive(real.url, real.top, real.sha256)})
    assert server.paths() == ["/mirror/flower_photos.tgz"] * 2


def test_offline_the_message_says_where_to_put_the_archive_and_there_it_is_used(
    data: Path, cache: Path, encode: Callable[..., bytes]
) -> None:
    content = tgz({"flower_photos/daisy/1.jpg": encode(format="JPEG")})
    archives = small("flower_photos", content, f"http://127.0.0.1:{free_port()}")
    with pytest.raises(DatasetError) as error:
        provide("flower_photos", data, archives)
    assert "connection refused" in str(error.value)
    assert archives["flower_photos"].url in str(error.value)
    assert f"put it at {cache / 'flower_photos.tgz'}, " in str(error.value)
    assert not data.exists()

    cache.mkdir(parents=True, exist_ok=True)
    (cache / "flower_photos.tgz").write_bytes(content)
    provide("flower_photos", data, archives)
    assert files_in(data) == {"daisy/1.jpg"}


def test_a_wrong_archive_put_there_by_hand_is_told(data: Path, cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / "kagglecatsanddogs_5340.zip").write_bytes(b"cut off")
    with pytest.raises(DatasetError, match=rf"expected {ARCHIVES['pet_images'].sha256}; remove it"):
        provide("pet_images", data)
    assert (cache / "kagglecatsanddogs_5340.zip").exists()


def test_a_folder_that_holds_something_is_left_alone(data: Path) -> None:
    data.mkdir()
    (data / "mine.txt").write_text("mine")
    for source in ("digits", "flower_photos", "dog_breed_identification"):
        provide(source, data)
    assert files_in(data) == {"mine.txt"}
    with pytest.raises(DatasetError, match=r"mine\.txt: cannot be read: Not a directory"):
        provide("flower_photos", data / "mine.txt")


def test_two_processes_that_want_the_same_pictures_both_get_them(
    server: FileServer, data: Path, encode: Callable[..., bytes]
) -> None:
    content = tgz({f"flower_photos/daisy/{number}.jpg": encode(format="JPEG") for number in range(50)})
    server.files["/flower_photos.tgz"] = content
    archive = small("flower_photos", content, server.url)["flower_photos"]
    code = (
        "import sys; from pathlib import Path; from vitrine_export.datasets.sources import Archive, provide; "
        "provide('flower_photos', Path(sys.argv[1]), {'flower_photos': Archive(*sys.argv[2:])}); "
        "assert len(list(Path(sys.argv[1], 'daisy').iterdir())) == 50"
    )
    command = [sys.executable, "-c", code, str(data), archive.url, archive.top, str(archive.sha256)]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    told = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], told
    assert len(server.requests) == 1
    assert sum("unpacking" in text for text in told) == 1


def test_the_cache_is_in_the_home_folder_where_nothing_else_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VITRINE_CACHE")
    assert downloads() == Path(os.environ["HOME"], ".cache/vitrine/downloads")


def test_an_unknown_source_is_told(data: Path) -> None:
    with pytest.raises(
        DatasetError, match="no data set 'cats'; there are digits, dog_breed_identification, dog_images"
    ):
        provide("cats", data)


BREEDS = {"labels.csv": b"id,breed\n1,pug\n", "sample_submission.csv": b"", "test/2.jpg": b"", "train/1.jpg": b"1"}


def test_dog_breeds_need_an_account(data: Path) -> None:
    with pytest.raises(DatasetError) as error:
        provide("dog_breed_identification", data)
    for text in (
        "KAGGLE_USERNAME and KAGGLE_KEY",
        "~/.kaggle/kaggle.json",
        "rules must be accepted",
        "https://www.kaggle.com/competitions/dog-breed-identification/rules",
        str(downloads() / "dog-breed-identification.zip"),
    ):
        assert text in str(error.value)
    assert not data.exists()


def test_dog_breeds_put_there_by_hand_need_none(data: Path, cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / "dog-breed-identification.zip").write_bytes(zipped(BREEDS))
    provide("dog_breed_identification", data)
    assert files_in(data) == {"labels.csv", "train/1.jpg"}


@pytest.fixture
def kaggle(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """A stand-in for Kaggle's servers, and an account in ~/.kaggle/kaggle.json."""
    folder = Path(os.environ["KAGGLE_CONFIG_DIR"])
    folder.mkdir(parents=True)
    (folder / "kaggle.json").write_text(json.dumps({"username": "me", "key": "secret"}))
    with kaggle_server(monkeypatch) as server:
        yield server


def test_dog_breeds_are_downloaded_with_an_account(kaggle: FileServer, data: Path, capsys) -> None:
    asked = []
    kaggle.posts["DownloadDataFiles"] = lambda body: (asked.append(body), ("application/zip", zipped(BREEDS)))[1]
    provide("dog_breed_identification", data)
    assert files_in(data) == {"labels.csv", "train/1.jpg"}
    assert asked == [{"competitionName": "dog-breed-identification"}]
    assert capsys.readouterr().out == ""


def test_rules_that_are_not_accepted_are_told(kaggle: FileServer, data: Path) -> None:
    with pytest.raises(
        DatasetError, match=r"403 Client Error.*rules must be accepted once, at https://www\.kaggle\.com"
    ):
        provide("dog_breed_identification", data)
    assert not data.exists()


def test_what_kaggle_sends_damaged_or_incomplete_is_told(kaggle: FileServer, data: Path) -> None:
    content = {"archive": zipped({"labels.csv": b"id,breed\n"})}
    kaggle.posts["DownloadDataFiles"] = lambda _: ("application/zip", content["archive"])
    with pytest.raises(DatasetError, match=r"Kaggle's download holds no train; remove it and try again"):
        provide("dog_breed_identification", data)
    content["archive"] = zipped(BREEDS).replace(b"1,pug", b"1,cat")
    with pytest.raises(DatasetError, match=r"damaged \(Bad CRC-32 .*; remove it from .*kagglehub and try"):
        provide("dog_breed_identification", data)
    assert not data.exists()


def test_damaged_credentials_are_told(kaggle: FileServer, data: Path) -> None:
    Path(os.environ["KAGGLE_CONFIG_DIR"], "kaggle.json").write_text("{")
    with pytest.raises(DatasetError, match="Invalid Kaggle credentials file"):
        provide("dog_breed_identification", data)


def test_offline_dog_breeds_are_refused(kaggle: FileServer, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(DatasetError, match=r"the proxy cannot be used.*put it at .*dog-breed-identification\.zip"):
        provide("dog_breed_identification", data)


def test_a_network_that_swallows_what_is_sent_is_not_waited_for_for_ever(
    kaggle: FileServer, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # kagglehub has no timeout of its own: without ours, this test does not end.
    monkeypatch.setattr("vitrine_export.kaggle.TIMEOUTS", (5, 0.2))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(DatasetError, match="no answer for"):
            provide("dog_breed_identification", data)
