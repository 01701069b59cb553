"""Three layouts of folders, named or found by looking; what does not fit one of them is said."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from vitrine_export.datasets.index import DatasetIndex
from vitrine_export.datasets.layouts import find
from vitrine_export.datasets.listing import Listing
from vitrine_export.datasets.prepare import prepare_dataset
from vitrine_export.errors import DatasetError
from vitrine_export.preprocessing import Preprocessing
from vitrine_export.recipe import DatasetConfig, Split

PREPROCESSING = Preprocessing("decode|resize(8)|value_range(-1,1)")
THIRDS = Split(train=0.4, validation=0.3, test=0.3)

Write = Callable[..., Path]


def prepare(root: Path, **settings: object) -> DatasetIndex:
    return prepare_dataset(DatasetConfig(path=str(root), split=THIRDS, **settings), PREPROCESSING)


@pytest.fixture
def write(tmp_path: Path, encode: Callable[..., bytes]) -> Write:
    """Write pictures that are all different: write("train/cat", 10) makes train/cat/0.png to 9.png."""
    made = iter(range(10_000))

    def write(folder: str, count: int = 10) -> Path:
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            (tmp_path / folder / f"{number}.png").write_bytes(encode(seed=next(made), size=(8, 8)))
        return tmp_path

    return write


def table(root: Path, *lines: str) -> Path:
    (root / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


def labelled(listing: Listing) -> dict[str, str]:
    return {file.path.relative_to(listing.root).as_posix(): file.label for file in listing.files}


# Class folders


def test_a_folder_that_holds_just_the_one_with_the_classes_is_entered(write: Write) -> None:
    write("download/PetImages/Cat", 2)
    root = write("download/PetImages/Dog", 2)
    (root / "download" / "__MACOSX").mkdir()
    (root / "download" / "readme.txt").write_text("pets")
    listing = find(root, "auto")
    assert (listing.labels, listing.root) == (("Cat", "Dog"), root / "download" / "PetImages")
    assert listing.notes == ["layout folders: one folder per class, in download/PetImages/"]


def test_files_beside_the_class_folders(write: Write) -> None:
    write("cat", 2)
    root = write("dog", 2)
    shutil.copy(root / "cat" / "0.png", root / "cover.png")
    (root / "ATTRIBUTION.csv").write_text("file,author\n")
    listing = find(root, "auto")
    assert len(listing.files) == 4
    assert listing.notes[1:] == ["1 pictures beside the class folders have no label and are not used"]


def test_classes_that_are_named_like_splits(write: Write) -> None:
    for label in ("train", "plane", "ship"):
        root = write(label, 1)
    assert find(root, "auto").labels == ("plane", "ship", "train")


def test_splits_given_as_class_folders(write: Write) -> None:
    for folder in ("train/cat", "train/dog", "test/cat", "test/dog"):
        root = write(folder, 1)
    with pytest.raises(DatasetError, match=r"these are splits, not classes: test, train; set dataset.layout: splits"):
        find(root, "folders")


def test_pictures_two_folders_deep_are_somebodys_guess(write: Write) -> None:
    for folder in ("pets/cat", "pets/dog", "flowers/rose"):
        root = write(folder, 1)
    with pytest.raises(DatasetError, match=r"no pictures right in its folders flowers, pets.*layout: folders if they"):
        find(root, "auto")
    assert find(root, "folders").labels == ("flowers", "pets")


# labels.csv


def test_labels_from_a_table(write: Write, encode) -> None:
    root = write("train", 6)
    write("test", 3)
    (root / "train" / "5.png").unlink()
    (root / "train" / "5.JPEG").write_bytes(encode(format="JPEG", seed=5, size=(8, 8)))
    (root / "train" / "notes.txt").write_text("dogs")
    table(root, "id,breed", "0,pug", "1,pug", "2,beagle", "3.png,beagle", "5,Great Dane", "7,pug", ",", "9,", "")
    listing = find(root, "auto")
    assert (listing.layout, listing.labels) == ("csv", ("Great Dane", "beagle", "pug"))
    assert labelled(listing) == {
        "train/0.png": "pug",
        "train/1.png": "pug",
        "train/2.png": "beagle",
        "train/3.png": "beagle",
        "train/5.JPEG": "Great Dane",
    }
    assert {entry.path: entry.reason.split(":")[0] for entry in listing.skipped} == {
        "train/7": "no file",
        "train/4.png": "no label",
        "labels.csv line 9": "no id or no label",
    }
    assert listing.notes == ["layout csv: labels.csv and train/", "test/ has no labels and is not used"]


def test_a_table_as_excel_and_macos_write_it(write: Write, encode) -> None:
    root = write("train", 0)
    (root / "train" / "cafe\u0301.png").write_bytes(encode())
    (root / "train" / "b.png").write_bytes(encode())
    (root / "labels.csv").write_bytes('\ufeffID,label\r\n"caf\u00e9",x\r\nb,"y, z"\r\n'.encode())
    assert labelled(find(root, "csv")) == {"train/cafe\u0301.png": "x", "train/b.png": "y, z"}


def test_an_id_with_two_files_and_an_id_with_two_labels(write: Write, encode) -> None:
    root = write("train", 20)
    (root / "train" / "0.jpg").write_bytes(encode(format="JPEG", seed=77))
    rows = [f"{number},{'cat' if number % 2 else 'dog'}" for number in range(20)]
    table(root, "id,label", *rows, *rows)
    skipped = prepare(root).skipped
    assert [(entry.path, entry.reason) for entry in skipped] == [("train/0.png", "the id has another file: 0.jpg")]
    table(root, "id,label", *rows, "4,cat")
    with pytest.raises(DatasetError, match=r"under two labels: train/4.png \(cat\) = train/4.png \(dog\)"):
        prepare(root)
    found = prepare(root, duplicates="drop")
    assert [entry.path for entry in found.left_out] == ["train/4.png"] * 2


@pytest.mark.parametrize("identity", ["../secret/0", "/etc/passwd", "a/b", "..", "a\\b", "x\0y"])
def test_ids_that_lead_out_of_the_folder(write: Write, identity: str) -> None:
    root = write("train", 1)
    write("secret", 1)
    table(root, "id,label", "0,pug", f"{identity},beagle")
    # Python 3.10 reads no table with a zero byte in it.
    with pytest.raises(DatasetError, match=r"line 3(: the id .* is no file name in train/| cannot be read: .*NUL)"):
        find(root, "csv")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "its first line must name the columns"),
        (b"0,pug\n1,beagle\n", "its first line must name the columns.*found '0,pug'"),
        (b"id;breed\n0;pug\n", "separated by a comma.*found 'id;breed'"),
        (b"id,breed\n", "holds no labels"),
        (b"id,breed\n0,pug\n", "at least two labels, found only 'pug'"),
        (b"id,breed\n0,pug\n1,Pug\n", "differ only in case"),
        (b"id,breed\nx,pug\ny,beagle\n", "none of its 2 ids, such as 'x', is a picture in .*train, which holds 0.png"),
        (b"id,breed\n0,caf\xe9\n", "is not UTF-8 text"),
        (b'id,breed\n0,"pug\n', "line 2 cannot be read"),
        (b"id,breed\n0,pu\x1bg\n1,beagle\n", "cannot be a label"),
    ],
)
def test_tables_that_cannot_be_used(write: Write, content: bytes, reason: str) -> None:
    root = write("train", 2)
    (root / "labels.csv").write_bytes(content)
    with pytest.raises(DatasetError, match=reason):
        find(root, "auto")


# train/, valid/ and test/


@pytest.mark.parametrize("valid", ["valid", "validation", "Val"])
def test_given_splits_are_used_as_given(write: Write, valid: str) -> None:
    for label in ("001.Affenpinscher", "002.Afghan_hound"):
        write(f"train/{label}", 5)
        write(f"{valid}/{label}", 2)
        root = write(f"test/{label}", 1)
    (root / "docs").mkdir()
    found = prepare(root)
    assert (found.layout, found.labels) == ("splits", ("001.Affenpinscher", "002.Afghan_hound"))
    assert found.counts() == {"train": 10, "validation": 4, "test": 2}
    for picture in found.pictures:
        folder = {"train": "train", "validation": valid, "test": "test"}[picture.split]
        assert picture.path.startswith(f"{folder}/{picture.label}/")
    assert "docs/ is none of the splits and not used" in found.notes


def test_a_missing_split_is_taken_from_train_and_the_given_one_stays_whole(write: Write) -> None:
    for label in ("cat", "dog"):
        write(f"train/{label}", 40)
        root = write(f"test/{label}", 5)
    found = prepare(root)
    assert found.counts()["test"] == 10
    assert 18 <= found.counts()["validation"] <= 50
    assert all(picture.path.startswith("test/") == (picture.split == "test") for picture in found.pictures)
    assert "no validation folder: taken from train/ by content" in found.notes
    # Kaggle's test pictures have no labels.
    for label in ("cat", "dog"):
        shutil.rmtree(root / "test" / label)
    write("test", 3)
    found = prepare(root)
    assert sum(found.counts().values()) == 80
    assert min(found.counts().values()) > 10
    assert "test/ holds no class folders and is not used" in found.notes
    assert "no validation and no test folder: taken from train/ by content" in found.notes


def test_classes_that_differ_between_splits(write: Write) -> None:
    for folder in ("train/cat", "train/dog", "valid/cat", "valid/dog", "test/cat"):
        root = write(folder, 2)
    assert "warning: no test pictures of dog" in prepare(root).notes
    write("test/emu", 1)
    with pytest.raises(DatasetError, match="test: classes that train/ does not have: emu; a network cannot learn them"):
        find(root, "auto")


def test_splits_that_do_not_fit_together(write: Write) -> None:
    for folder in ("train/cat", "train/dog", "valid/cat", "val/cat"):
        root = write(folder, 1)
    with pytest.raises(DatasetError, match="val/ and valid/ are both validation pictures; merge them or remove one"):
        find(root, "auto")
    shutil.rmtree(root / "train" / "dog")
    shutil.rmtree(root / "val")
    with pytest.raises(DatasetError, match="at least two class folders, found only 'cat'"):
        find(root, "splits")
    shutil.rmtree(root / "train")
    with pytest.raises(DatasetError, match="`splits` needs train/ with one folder per class; found valid/"):
        find(root, "splits")


# Looking


def test_two_layouts_at_once(write: Write) -> None:
    for folder in ("train/cat", "train/dog", "test/cat"):
        root = write(folder, 1)
    table(root, "id,label", "0,cat")
    with pytest.raises(DatasetError, match=r"could be two layouts: labels.csv .*dataset.layout: csv or splits"):
        find(root, "auto")
    assert find(root, "splits").layout == "splits"


def test_no_layout_that_is_known(write: Write) -> None:
    root = write("", 3)
    table(root, "id,label", "0,cat")
    with pytest.raises(DatasetError) as caught:
        find(root, "auto")
    message = str(caught.value)
    assert "looked for folders: one folder per class; csv: labels.csv and train/; splits: class folders in" in message
    assert "found no folder and 3 pictures in no folder, such as 0.png and labels.csv without train/" in message
    with pytest.raises(DatasetError, match=r"the layout `csv` needs labels.csv"):
        find(root, "csv")


def test_folders_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").symlink_to(tmp_path)
    with pytest.raises(DatasetError, match="no layout that is known"):
        find(tmp_path, "auto")


@pytest.mark.parametrize(
    ("folder", "layout", "classes", "counts"),
    [
        ("flowers", "folders", 5, None),
        ("cats_vs_dogs/PetImages", "folders", 2, None),
        ("dog_breeds/kaggle", "csv", 25, None),
        ("dog_breeds/dogImages", "splits", 12, {"train": 136, "validation": 24, "test": 32}),
    ],
)
def test_real_pictures_in_every_layout(
    shared_data: Path, folder: str, layout: str, classes: int, counts: dict[str, int] | None
) -> None:
    found = prepare(shared_data / folder)
    assert (found.layout, len(found.labels)) == (layout, classes)
    assert counts is None or found.counts() == counts
    # None of these pictures is there twice, and none is taken for another one.
    assert found.left_out == ()
    assert not any("look like" in note for note in found.notes)
    assert all(found.file(picture).is_file() for picture in found.pictures)
