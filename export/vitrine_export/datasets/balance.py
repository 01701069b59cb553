"""Classes of unequal size: pictures are left out, or weighed in the loss."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from vitrine_export.datasets.index import DatasetIndex, Picture, SplitName
from vitrine_export.datasets.splitting import draw

_Kind = tuple[str, SplitName]


def at_most_per_class(pictures: Sequence[Picture], most: int, seed: int) -> list[Picture]:
    """At most `most` (>= 3) pictures of each class, its splits in the proportion that they had, none of them emptied.

    Which ones depends on their content and `seed` only.
    """
    by_class: dict[str, Counter[SplitName]] = defaultdict(Counter)
    for picture in pictures:
        by_class[picture.label][picture.split] += 1
    places: dict[_Kind, int] = {
        (label, split): count
        for label, counts in by_class.items()
        for split, count in _proportional(counts, most).items()
    }
    return _drawn(pictures, places, f"most {seed}")


def undersampled(pictures: Sequence[Picture], seed: int) -> list[Picture]:
    """As many training pictures of each class as the smallest one has; the other splits as they are.

    Which ones depends on their content and `seed` only.
    """
    counts = Counter(picture.label for picture in pictures if picture.split == "train")
    smallest = min(counts.values())
    return _drawn(pictures, {(label, "train"): smallest for label in counts}, f"undersample {seed}")


def class_weights(index: DatasetIndex) -> dict[str, float]:
    """For each label, the inverse of its share of the training pictures, scaled so that their mean weight is 1."""
    counts = Counter(picture.label for picture in index.split("train"))
    total = sum(counts.values())
    return {label: total / (len(index.labels) * counts[label]) for label in index.labels}


def _proportional(counts: Mapping[SplitName, int], most: int) -> dict[SplitName, int]:
    """Places for each split by Webster's method, at least one each."""
    if sum(counts.values()) <= most:
        return dict(counts)
    places = dict.fromkeys(counts, 1)
    while sum(places.values()) < most:
        open_ = [split for split in counts if places[split] < counts[split]]
        places[max(open_, key=lambda split: counts[split] / (2 * places[split] + 1))] += 1
    return places


def _drawn(pictures: Sequence[Picture], places: Mapping[_Kind, int], purpose: str) -> list[Picture]:
    """The pictures, of each label and split in `places` only so many; in the order that they came in."""
    by_kind: dict[_Kind, list[Picture]] = defaultdict(list)
    for picture in pictures:
        by_kind[picture.label, picture.split].append(picture)
    kept = {
        picture.path
        for kind, group in by_kind.items()
        for picture in sorted(group, key=lambda one: draw(one.sha256, purpose))[: places.get(kind, len(group))]
    }
    return [picture for picture in pictures if picture.path in kept]
