"""Classes of unequal size are cut to size, the same way every time, or weighed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from vitrine_export.datasets.balance import class_weights
from vitrine_export.datasets.index import DatasetIndex
from vitrine_export.datasets.prepare import prepare_dataset
from vitrine_export.preprocessing import Preprocessing
from vitrine_export.recipe import DatasetConfig, Split

PREPROCESSING = Preprocessing("decode|resize(8)|value_range(-1,1)")


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory, encode: Callable[..., bytes]) -> Path:
    """60 cats, 30 dogs and 20 emus."""
    root = tmp_path_factory.mktemp("pictures")
    for offset, (label, count) in enumerate((("cat", 60), ("dog", 30), ("emu", 20))):
        (root / label).mkdir()
        for number in range(count):
            (root / label / f"{number}.png").write_bytes(encode(seed=1000 * offset + number, size=(8, 8)))
    return root


def prepare(root: Path, seed: int = 0, **settings: object) -> DatasetIndex:
    split = Split(train=0.6, validation=0.2, test=0.2, seed=seed)
    return prepare_dataset(DatasetConfig(path=str(root), split=split, **settings), PREPROCESSING)


def sizes(found: DatasetIndex, split: str) -> Counter[str]:
    return Counter(picture.label for picture in found.pictures if picture.split == split)


def test_undersampling_cuts_the_training_split_only(uneven: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, cut = prepare(uneven), prepare(uneven, balance="undersample")
    smallest = min(sizes(whole, "train").values())
    assert sizes(cut, "train") == dict.fromkeys(("cat", "dog", "emu"), smallest)
    for split in ("validation", "test"):
        assert [one for one in cut.pictures if one.split == split] == [
            one for one in whole.pictures if one.split == split
        ]
    gone = {entry.path for entry in cut.left_out}
    assert gone == {picture.path for picture in whole.pictures} - {picture.path for picture in cut.pictures}
    assert all(entry.reason.startswith("balance: undersample") for entry in cut.left_out)
    assert f"balance leaves {len(gone)} pictures out" in capsys.readouterr().err
    assert prepare(uneven, balance="undersample") == cut


def test_which_pictures_are_left_out_follows_the_seed(uneven: Path) -> None:
    # One way to cut is chosen by the content: another seed chooses others even from pictures that both have.
    first, second = (prepare(uneven, seed, max_per_class=10) for seed in (0, 1))
    assert Counter(picture.label for picture in first.pictures) == {"cat": 10, "dog": 10, "emu": 10}
    assert {picture.path for picture in first.pictures} != {picture.path for picture in second.pictures}


@pytest.mark.parametrize("most", [3, 12, 25])
def test_at_most_so_many_of_each_class_in_the_splits_own_proportion(uneven: Path, most: int) -> None:
    whole, cut = prepare(uneven), prepare(uneven, max_per_class=most)
    for label, before in Counter(picture.label for picture in whole.pictures).items():
        kept = [picture for picture in cut.pictures if picture.label == label]
        assert len(kept) == min(most, before)
        for split in ("train", "validation", "test"):
            share = sizes(whole, split)[label] / before
            assert abs(sizes(cut, split)[label] - share * len(kept)) <= 1
            assert sizes(cut, split)[label] >= 1
    assert len(cut.left_out) == len(whole.pictures) - len(cut.pictures)


def test_class_weights_make_up_for_the_classes_sizes(uneven: Path) -> None:
    found = prepare(uneven, balance="weights")
    assert found.pictures == prepare(uneven).pictures
    weights, counts = class_weights(found), sizes(found, "train")
    total = sum(counts.values())
    assert sum(weights[label] * counts[label] for label in counts) / total == pytest.approx(1)
    for label in counts:
        assert weights[label] * counts[label] == pytest.approx(total / 3)
