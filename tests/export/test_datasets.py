"""Pictures are found, checked and split before training; what cannot be used is named with the reason."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from vitrine_export.datasets.index import DatasetIndex
from vitrine_export.datasets.prepare import prepare_dataset
from vitrine_export.errors import DatasetError
from vitrine_export.preprocessing import Preprocessing
from vitrine_export.recipe import DatasetConfig, Split

PREPROCESSING = Preprocessing("decode|resize(8)|value_range(-1,1)")
THIRDS = Split(train=0.4, validation=0.3, test=0.3)


def index(root: Path, split: Split = THIRDS) -> DatasetIndex:
    return prepare_dataset(DatasetConfig(path=str(root), split=split), PREPROCESSING)


@pytest.fixture
def pictures(tmp_path: Path, encode: Callable[..., bytes]) -> Path:
    """Forty pictures each of cats and dogs."""
    root = tmp_path / "pets"
    for offset, label in ((0, "cat"), (100, "dog")):
        (root / label).mkdir(parents=True)
        for number in range(40):
            (root / label / f"{number}.png").write_bytes(encode(seed=offset + number, size=(8, 8)))
    return root


def splits(found: DatasetIndex) -> dict[str, str]:
    return {picture.path: picture.split for picture in found.pictures}


def test_labels_are_the_folders_and_every_picture_is_in_one_split(pictures: Path) -> None:
    found = index(pictures)
    assert found.labels == ("cat", "dog")
    assert sum(found.counts().values()) == 80
    assert min(found.counts().values()) > 10
    assert all(picture.path.startswith(f"{picture.label}/") for picture in found.pictures)


def test_the_split_follows_the_content_not_the_name_or_the_company(pictures: Path, encode) -> None:
    before = splits(index(pictures))
    (pictures / "cat" / "0.png").rename(pictures / "cat" / "renamed.png")
    for number in range(10):
        (pictures / "dog" / f"new{number}.png").write_bytes(encode(seed=1000 + number, size=(8, 8)))
    after = splits(index(pictures))
    assert after["cat/renamed.png"] == before.pop("cat/0.png")
    assert {path: after[path] for path in before} == before


def test_the_seed_0_splits_by_the_files_own_hash_so_old_runs_stay_comparable(pictures: Path) -> None:
    for picture in index(pictures).pictures:
        position = int(hashlib.sha256((pictures / picture.path).read_bytes()).hexdigest()[:16], 16) / 2**64
        assert picture.split == ("train" if position < 0.4 else "validation" if position < 0.7 else "test")


def test_another_seed_gives_another_split_of_the_same_shares(pictures: Path) -> None:
    first, second, again = (
        splits(index(pictures, Split(train=0.4, validation=0.3, test=0.3, seed=seed))) for seed in (0, 1, 1)
    )
    assert second == again
    assert second != first
    assert 20 <= list(second.values()).count("train") <= 44


def test_the_digest_names_the_content_wherever_it_lies(pictures: Path, tmp_path: Path) -> None:
    before = index(pictures).digest()
    moved = pictures.rename(tmp_path / "elsewhere")
    assert index(moved).digest() == before
    (moved / "cat" / "1.png").unlink()
    assert index(moved).digest() != before


def test_the_index_survives_being_written_down(pictures: Path) -> None:
    (pictures / "cat" / "bad.png").write_bytes(b"")
    found = index(pictures)
    assert found.skipped
    assert found.notes
    assert DatasetIndex.from_json(found.to_json()) == found


def test_an_index_of_before_there_were_layouts_is_still_read(pictures: Path) -> None:
    found = index(pictures)
    old = {key: json.loads(found.to_json())[key] for key in ("root", "labels", "pictures", "skipped")}
    read = DatasetIndex.from_json(json.dumps(old))
    assert (read.pictures, read.layout, read.left_out) == (found.pictures, "folders", ())


def test_unusable_files_are_listed_with_their_reason_and_left_out(
    pictures: Path, encode, capsys: pytest.CaptureFixture[str]
) -> None:
    cats = pictures / "cat"
    (cats / "empty.jpg").write_bytes(b"")
    (cats / "empty2.jpg").write_bytes(b"")
    (cats / "text.jpg").write_text("this is text")
    (cats / "really_a_gif.jpg").write_bytes(encode("P", "GIF"))
    (cats / "really_a_bmp.png").write_bytes(encode("RGB", "BMP"))
    (cats / "half.jpg").write_bytes(encode("RGB", "JPEG", size=(64, 64))[:600])
    (cats / "notes.txt").write_text("cats are nice")
    (cats / ".hidden.png").write_bytes(b"passed over")
    found = index(pictures)
    reasons = {entry.path: entry.reason for entry in found.skipped}
    assert reasons.keys() == {
        "cat/empty.jpg",
        "cat/empty2.jpg",
        "cat/text.jpg",
        "cat/really_a_gif.jpg",
        "cat/really_a_bmp.png",
        "cat/half.jpg",
        "cat/notes.txt",
    }
    assert reasons["cat/empty.jpg"] == "empty file"
    assert "no picture that can be decoded" in reasons["cat/text.jpg"]
    assert "misnamed: the content is GIF; rename it to end in .gif" in reasons["cat/really_a_gif.jpg"]
    assert "misnamed: the content is BMP; rename it to end in .bmp" in reasons["cat/really_a_bmp.png"]
    assert "Invalid JPEG data" in reasons["cat/half.jpg"]
    assert "not a picture by its name: .txt" in reasons["cat/notes.txt"]
    assert all("\n" not in reason and "Traceback" not in reason for reason in reasons.values())
    assert len(found.pictures) == 80
    said = capsys.readouterr().err
    assert "skipped 7 files (2 empty file, 2 cannot be decoded, 2 misnamed, 1 not a picture by its name):" in said
    assert "  cat/empty.jpg: empty file\n" in said
    assert "80 pictures of 2 classes" in said


def test_of_very_many_broken_files_the_first_are_told_and_all_written_down(
    pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(50):
        (pictures / "dog" / f"broken{number:02}.jpg").write_bytes(b"")
    assert len(index(pictures).skipped) == 50
    said = capsys.readouterr().err
    assert said.count(": empty file\n") == 20
    assert "and 30 more; all of them are in dataset.json" in said


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere these files cannot be made")
def test_what_is_no_file_or_has_no_readable_name(pictures: Path, encode) -> None:
    cats = pictures / "cat"
    os.mkfifo(cats / "pipe.jpg")
    (cats / "nowhere.jpg").symlink_to("gone.jpg")
    (cats / "round.jpg").symlink_to("round.jpg")
    (cats / "loop").symlink_to(cats)
    (cats / "two\nlines").mkdir()
    (cats / "two\nlines" / "1.png").write_bytes(encode(seed=1234))
    Path(os.fsdecode(os.fsencode(cats) + b"/caf\xe9.png")).write_bytes(encode(seed=1235))
    found = index(pictures)
    assert {entry.path: entry.reason for entry in found.skipped} == {
        "cat/pipe.jpg": "cannot be read: is no regular file",
        "cat/nowhere.jpg": "cannot be read: No such file or directory",
        "cat/round.jpg": "cannot be read: Too many levels of symbolic links",
        "cat/two\nlines/1.png": "its name holds characters that cannot be printed",
        "cat/caf?.png": "its name holds characters that cannot be printed",
    }
    assert len(found.pictures) == 80


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_files_and_folders_that_may_not_be_read(pictures: Path, encode) -> None:
    (pictures / "cat" / "0.png").chmod(0)
    (pictures / "cat" / "closed").mkdir(mode=0)
    reasons = {entry.path: entry.reason for entry in index(pictures).skipped}
    assert reasons == dict.fromkeys(("cat/0.png", "cat/closed"), "cannot be read: Permission denied")


def test_linked_folders_belong_to_the_class(pictures: Path, tmp_path: Path) -> None:
    (pictures / "cat").rename(tmp_path / "cats")
    (pictures / "cat").mkdir()
    (pictures / "cat" / "all").symlink_to(tmp_path / "cats")
    assert sum(path.startswith("cat/all/") for path in splits(index(pictures))) == 40


def test_the_broken_files_of_a_real_download_are_all_found(pictures: Path, shared_data: Path) -> None:
    broken = shared_data / "cats_vs_dogs" / "corrupt_and_odd"
    shutil.copytree(broken / "PetImages" / "Cat", pictures / "cat", dirs_exist_ok=True)
    shutil.copytree(broken / "PetImages" / "Dog", pictures / "dog", dirs_exist_ok=True)
    shutil.copytree(broken / "other", pictures / "cat" / "other")
    found = index(pictures)
    names = {Path(entry.path).name for entry in found.skipped}
    taken = {Path(picture.path).name for picture in found.pictures}
    assert {"666.jpg", "11702.jpg", "Abyssinian_34.jpg", "Abyssinian_5.jpg"} <= names
    assert {"pillow_truncated_jpeg.jpg", "its_5482a546_cmyk_pil_ok.jpg", "pillow_broken_data_stream.png"} <= names
    assert {"pillow_cmyk.jpg", "pillow_gray.jpg"} <= taken


def test_pictures_in_folders_below_a_class_belong_to_it(pictures: Path, encode) -> None:
    (pictures / "cat" / "2024" / "may").mkdir(parents=True)
    (pictures / "cat" / "2024" / "may" / "x.png").write_bytes(encode(seed=7777))
    assert "cat/2024/may/x.png" in splits(index(pictures))


def test_a_class_folder_with_no_pictures(pictures: Path) -> None:
    (pictures / "emu").mkdir()
    with pytest.raises(DatasetError, match="classes with no pictures: 'emu'; add pictures or remove"):
        index(pictures)
    (pictures / "emu" / "1.jpg").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"'emu' \(1 files cannot be used, the first: empty file\)"):
        index(pictures)


def test_one_class_only(pictures: Path) -> None:
    shutil.rmtree(pictures / "dog")
    with pytest.raises(DatasetError, match="found only the folder 'cat'; needs at least two class folders"):
        index(pictures)
    shutil.rmtree(pictures / "cat")
    with pytest.raises(DatasetError, match="found no folder"):
        index(pictures)


def test_folders_whose_names_differ_only_in_case(pictures: Path, encode) -> None:
    (pictures / "Cat").mkdir()
    (pictures / "Cat" / "1.png").write_bytes(encode(seed=5000))
    with pytest.raises(
        DatasetError, match="differ only in case or in accents' encoding: 'Cat' and 'cat'; merge or rename"
    ):
        index(pictures)


def test_a_class_folder_whose_name_cannot_be_a_label(pictures: Path) -> None:
    (pictures / "two\nlines").mkdir()
    with pytest.raises(DatasetError, match="cannot be a label"):
        index(pictures)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere file names are text")
def test_a_class_folder_whose_name_is_no_text(pictures: Path) -> None:
    Path(os.fsdecode(os.fsencode(pictures) + b"/caf\xe9")).mkdir()
    with pytest.raises(DatasetError, match="cannot be a label"):
        index(pictures)


def test_too_few_pictures_for_three_splits(pictures: Path) -> None:
    for path in [*pictures.rglob("*.png")]:
        if path.stem not in ("1", "2"):
            path.unlink()
    with pytest.raises(DatasetError, match="too few"):
        index(pictures)


def test_the_digits_are_written_once_and_whole(digits_folder: Path) -> None:
    from PIL import Image

    assert sorted(path.name for path in digits_folder.iterdir()) == [str(digit) for digit in range(10)]
    files = list(digits_folder.rglob("*.png"))
    assert len(files) == 1797
    with Image.open(digits_folder / "7" / "0007.png") as picture:
        assert (picture.size, picture.mode) == ((8, 8), "L")


def test_a_source_is_made_where_its_folder_is_missing_only(pictures: Path, tmp_path: Path) -> None:
    def prepare(folder: Path) -> DatasetIndex:
        return prepare_dataset(DatasetConfig(path=str(folder), source="digits"), PREPROCESSING)

    assert len(prepare(tmp_path / "data" / "digits").pictures) == 1797
    assert prepare(pictures).labels == ("cat", "dog")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="is empty; remove it, then it is filled from the source digits"):
        prepare(tmp_path / "empty")


def test_no_pictures_at_all(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"dataset.path: missing"):
        prepare_dataset(DatasetConfig(), PREPROCESSING)
    with pytest.raises(DatasetError, match="nowhere: cannot be read: No such file"):
        index(tmp_path / "nowhere")
    (tmp_path / "pets.zip").write_bytes(b"PK")
    with pytest.raises(DatasetError, match=r"pets.zip: is a file, not a folder; unpack it first"):
        index(tmp_path / "pets.zip")
    (tmp_path / "round").symlink_to("round")
    with pytest.raises(DatasetError, match="round: cannot be read"):
        index(tmp_path / "round")
