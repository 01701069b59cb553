"""The same file twice: in two splits it lets the test see training pictures, under two labels one of them is wrong."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Literal

from vitrine_export.datasets.index import SPLITS, Picture, Skipped
from vitrine_export.datasets.listing import some
from vitrine_export.errors import DatasetError

_SHOWN = 3


def without_copies(
    pictures: Sequence[Picture], root: str, policy: Literal["refuse", "drop"]
) -> tuple[list[Picture], list[Skipped]]:
    """The pictures, each content once, and those left out.

    Copies within one class and split: the first is kept. With `drop`, of copies in two splits the one in the test
    split is kept, or else that in the validation split; under two labels none is. With `refuse`, DatasetError for
    both.
    """
    by_content: dict[str, list[Picture]] = defaultdict(list)
    for picture in pictures:
        by_content[picture.sha256].append(picture)
    groups = [group for group in by_content.values() if len(group) > 1]
    two_labels = [group for group in groups if _differ(group, "label")]
    two_splits = [group for group in groups if _differ(group, "split") and not _differ(group, "label")]
    if policy == "refuse" and (two_labels or two_splits):
        raise DatasetError(_refusal(root, two_labels, two_splits))
    left_out: dict[int, Skipped] = {}
    for group in two_labels:
        for picture in group:
            other = next(other for other in group if other.label != picture.label)
            left_out[id(picture)] = Skipped(
                picture.path, f"copy: the same file has the label {other.label} as {other.path}"
            )
    for group in groups:
        if id(group[0]) in left_out:
            continue
        kept = max(group, key=lambda picture: SPLITS.index(picture.split))
        for picture in group:
            if picture is not kept:
                where = "" if kept.split == picture.split else f", in the {kept.split} split"
                left_out[id(picture)] = Skipped(picture.path, f"copy: the same file as {kept.path}{where}")
    kept_pictures = [picture for picture in pictures if id(picture) not in left_out]
    return kept_pictures, [left_out[id(picture)] for picture in pictures if id(picture) in left_out]


def _differ(group: list[Picture], field: Literal["split", "label"]) -> bool:
    return len({getattr(picture, field) for picture in group}) > 1


def _refusal(root: str, two_labels: list[list[Picture]], two_splits: list[list[Picture]]) -> str:
    lines = []
    if two_splits:
        pairs = [_pair(group, "split") for group in two_splits]
        lines.append(
            f"{_files(pairs)} in two splits, so the test would ask what training has shown: {some(pairs, _SHOWN)}"
        )
    if two_labels:
        pairs = [_pair(group, "label") for group in two_labels]
        lines.append(f"{_files(pairs)} under two labels: {some(pairs, _SHOWN)}")
    return (
        f"{root}: {'; '.join(lines)}; remove the wrong ones, or set dataset.duplicates: drop (drops the copies on the "
        "training side, and all copies of a file that has two labels)"
    )


def _pair(group: list[Picture], differs: Literal["split", "label"]) -> str:
    first = group[0]
    other = next(picture for picture in group if getattr(picture, differs) != getattr(first, differs))
    return " = ".join(f"{one.path} ({getattr(one, differs)})" for one in (first, other))


def _files(pairs: list[str]) -> str:
    return "1 file is" if len(pairs) == 1 else f"{len(pairs)} files are"
