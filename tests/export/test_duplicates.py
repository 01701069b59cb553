"""One picture twice: within a class it is kept once, across splits or labels it is refused or dropped."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitrine_export.datasets.index import DatasetIndex
from vitrine_export.datasets.prepare import prepare_dataset
from vitrine_export.errors import DatasetError
from vitrine_export.preprocessing import Preprocessing
from vitrine_export.recipe import DatasetConfig

PREPROCESSING = Preprocessing("decode|resize(96)|value_range(-1,1)")


def prepare(root: Path, **settings: object) -> DatasetIndex:
    return prepare_dataset(DatasetConfig(path=str(root), **settings), PREPROCESSING)


def scene(seed: int, size: tuple[int, int] = (192, 144)) -> Image.Image:
    """A picture with large and small shapes, as photos have."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (7, 9, 3), np.uint8)).resize(size, Image.Resampling.BICUBIC)
    fine = Image.fromarray(random.integers(0, 256, (18, 24, 3), np.uint8)).resize(size, Image.Resampling.BICUBIC)
    return Image.blend(coarse, fine, 0.3)


def save(picture: Image.Image, path: Path, format: str = "PNG", **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, format, **options)


@pytest.fixture
def given_splits(tmp_path: Path) -> Path:
    """Three scenes for each of two classes in each of three splits."""
    root, seed = tmp_path / "dogs", 0
    for split in ("train", "valid", "test"):
        for label in ("beagle", "pug"):
            for number in range(3):
                seed += 1
                save(scene(seed), root / split / label / f"{number}.png")
    return root


def paths(found: DatasetIndex) -> set[str]:
    return {picture.path for picture in found.pictures}


def test_pictures_that_are_all_different_are_all_kept(given_splits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = prepare(given_splits)
    assert (len(found.pictures), found.left_out) == (18, ())
    assert not {"copies", "warning"} & set(capsys.readouterr().err.replace(":", " ").split())


def test_copies_within_a_class_and_split_are_kept_once(given_splits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pugs = given_splits / "train" / "pug"
    for name in ("copy.png", "again.png"):
        shutil.copy(pugs / "1.png", pugs / name)
    found = prepare(given_splits)
    assert {path for path in paths(found) if path.startswith("train/pug")} == {
        f"train/pug/{name}.png" for name in ("0", "1", "2")
    }
    assert {(entry.path, entry.reason) for entry in found.left_out} == {
        (f"train/pug/{name}.png", "copy: the same file as train/pug/1.png") for name in ("again", "copy")
    }
    assert "2 copies left out: train/pug/again.png" in capsys.readouterr().err


def test_copies_in_two_splits_are_refused_with_the_way_out(given_splits: Path) -> None:
    for number in range(3):
        shutil.copy(given_splits / "train" / "pug" / f"{number}.png", given_splits / "test" / "pug" / f"t{number}.png")
    shutil.copy(given_splits / "train" / "beagle" / "0.png", given_splits / "valid" / "beagle" / "v.png")
    with pytest.raises(DatasetError) as caught:
        prepare(given_splits)
    message = str(caught.value)
    assert "4 files are in two splits" in message
    assert "train/beagle/0.png (train) = valid/beagle/v.png (validation)" in message
    assert "and 1 more" in message
    assert "set dataset.duplicates: drop" in message
    assert "\n" not in message


def test_dropped_copies_are_dropped_on_the_training_side(given_splits: Path) -> None:
    first = given_splits / "train" / "pug" / "0.png"
    shutil.copy(first, given_splits / "valid" / "pug" / "v.png")
    shutil.copy(first, given_splits / "test" / "pug" / "t.png")
    shutil.copy(given_splits / "train" / "pug" / "1.png", given_splits / "valid" / "pug" / "w.png")
    found = prepare(given_splits, duplicates="drop")
    assert {entry.path: entry.reason for entry in found.left_out} == {
        "train/pug/0.png": "copy: the same file as test/pug/t.png, in the test split",
        "valid/pug/v.png": "copy: the same file as test/pug/t.png, in the test split",
        "train/pug/1.png": "copy: the same file as valid/pug/w.png, in the validation split",
    }
    assert {"test/pug/t.png", "valid/pug/w.png"} <= paths(found)


def test_one_picture_under_two_labels(tmp_path: Path) -> None:
    for seed in range(60):
        save(scene(seed), tmp_path / "pets" / ("cat" if seed % 2 else "dog") / f"{seed}.png")
    pets = tmp_path / "pets"
    shutil.copy(pets / "cat" / "7.png", pets / "dog" / "oh.png")
    with pytest.raises(DatasetError, match=r"1 file is under two labels: cat/7.png \(cat\) = dog/oh.png \(dog\)"):
        prepare(pets)
    found = prepare(pets, duplicates="drop")
    assert [entry.path for entry in found.left_out] == ["cat/7.png", "dog/oh.png"]
    assert len(found.pictures) == 59
    assert "label dog" in found.left_out[0].reason


def reencoded(picture: Image.Image) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=60)
    return Image.open(file)


@pytest.mark.parametrize(
    "copy",
    [
        reencoded,
        lambda picture: reencoded(picture.resize((96, 72), Image.Resampling.LANCZOS)),
        lambda picture: picture.resize((400, 300), Image.Resampling.BICUBIC),
        lambda picture: Image.eval(picture, lambda value: int(20 + value * 0.7)),
    ],
    ids=["re-encoded", "smaller", "larger", "darker"],
)
def test_look_alikes_across_splits_are_told_and_dropped_if_asked(
    given_splits: Path, copy: Callable[[Image.Image], Image.Image], capsys: pytest.CaptureFixture[str]
) -> None:
    with Image.open(given_splits / "train" / "pug" / "2.png") as picture:
        save(copy(picture), given_splits / "test" / "pug" / "like.png")
    found = prepare(given_splits)
    assert len(found.pictures) == 19
    said = capsys.readouterr().err
    assert "warning: 1 pictures look like one in another split or class" in said
    assert "train/pug/2.png (looks like test/pug/like.png)" in said
    assert "dataset.duplicates: drop leaves them out" in said
    found = prepare(given_splits, duplicates="drop")
    assert [(entry.path, entry.reason) for entry in found.left_out] == [
        ("train/pug/2.png", "copy: looks like test/pug/like.png")
    ]
    assert "test/pug/like.png" in paths(found)


def test_look_alikes_under_two_labels_are_both_dropped(given_splits: Path) -> None:
    with Image.open(given_splits / "train" / "pug" / "2.png") as picture:
        save(reencoded(picture), given_splits / "train" / "beagle" / "like.png")
    with Image.open(given_splits / "valid" / "pug" / "2.png") as picture:
        # Within one class and split a look-alike harms nobody.
        save(reencoded(picture), given_splits / "valid" / "pug" / "like.png")
    found = prepare(given_splits, duplicates="drop")
    assert {entry.path for entry in found.left_out} == {"train/pug/2.png", "train/beagle/like.png"}


def test_blank_pictures_are_nobodys_copies(given_splits: Path) -> None:
    for split, grey in (("train", 10), ("valid", 90), ("test", 250)):
        save(Image.new("RGB", (64, 64), (grey, grey, grey)), given_splits / split / "pug" / "blank.png")
    found = prepare(given_splits, duplicates="drop")
    assert (len(found.pictures), found.left_out) == (21, ())


def test_copies_of_real_photos_are_found_and_other_photos_are_not_taken_for_them(
    shared_data: Path, tmp_path: Path
) -> None:
    photos = sorted((shared_data / "flowers").glob("*/*.jpg"))[::10]
    for number, path in enumerate(photos):
        split = ("train", "valid", "test")[number % 3]
        label = path.parent.name
        (tmp_path / split / label).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, tmp_path / split / label / path.name)
    copied = sorted(tmp_path.glob("train/*/*.jpg"))[::2]
    for path in copied:
        with Image.open(path) as photo:
            smaller = photo.resize((photo.width // 2, photo.height // 2), Image.Resampling.LANCZOS)
        save(smaller, tmp_path / "test" / path.parent.name / f"small_{path.name}", "JPEG", quality=70)
    found = prepare(tmp_path, duplicates="drop")
    assert [entry.path for entry in found.left_out] == [path.relative_to(tmp_path).as_posix() for path in copied]
