"""From the recipe's section `dataset` to an index: find, check, split and balance the pictures, and say so."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from vitrine_export.datasets import balance, layouts
from vitrine_export.datasets.checks import check_files
from vitrine_export.datasets.duplicates import without_copies
from vitrine_export.datasets.index import SPLITS, DatasetIndex, Picture, Skipped
from vitrine_export.datasets.listing import Listing, shown, some
from vitrine_export.datasets.look_alikes import look_alikes
from vitrine_export.datasets.splitting import shares_of, split_of
from vitrine_export.errors import DatasetError
from vitrine_export.preprocessing import Preprocessing
from vitrine_export.recipe import DatasetConfig, Split

_LISTED = 20


def prepare_dataset(config: DatasetConfig, preprocessing: Preprocessing) -> DatasetIndex:
    """Fetch the pictures if they are not there yet, then find, check, split and balance them; tells all on stderr.

    Every file is decoded once, so that nothing breaks in the middle of an epoch; memory grows by a few KiB a picture.
    Raises DatasetError for pictures that cannot be trained on.
    """
    listing = layouts.find(_provided(config), config.layout)
    told = _Told(listing.notes)
    pictures, skipped, thumbnails = _check(listing, config.split, preprocessing)
    _say_skipped(skipped)
    root = str(listing.root)
    pictures, left_out = without_copies(pictures, root, config.duplicates)
    if left_out:
        told(f"{len(left_out)} copies left out: {_pairs((one.path, one.reason) for one in left_out)}")
    alike = look_alikes(pictures, [thumbnails[picture.sha256] for picture in pictures])
    if alike:
        told(_look_alikes_text(pictures, alike, config.duplicates))
    if config.duplicates == "drop":
        left_out += [Skipped(pictures[a].path, f"copy: looks like {pictures[b].path}") for a, b in alike.items()]
        pictures = [picture for number, picture in enumerate(pictures) if number not in alike]
    _require_pictures(listing, pictures, skipped)
    told(*_missing_from_splits(listing.labels, pictures))
    chosen = pictures
    if config.max_per_class is not None:
        chosen = balance.at_most_per_class(chosen, config.max_per_class, config.split.seed)
        left_out += _gone(pictures, chosen, f"max_per_class: more than {config.max_per_class} of {{label}}", told)
    if config.balance == "undersample":
        before, chosen = chosen, balance.undersampled(chosen, config.split.seed)
        left_out += _gone(before, chosen, "balance: undersample: more of {label} than of the smallest class", told)
    index = DatasetIndex(
        root, listing.labels, tuple(chosen), tuple(skipped), tuple(left_out), listing.layout, tuple(told.notes)
    )
    counts = ", ".join(f"{count} {name}" for name, count in index.counts().items())
    _say(f"{len(index.pictures)} pictures of {len(index.labels)} classes in {root}: {counts}")
    return index


class _Told:
    """What is said about the data set as a whole, on stderr and in the index."""

    def __init__(self, notes: Sequence[str]) -> None:
        self.notes: list[str] = []
        self(*notes)

    def __call__(self, *notes: str) -> None:
        for note in notes:
            self.notes.append(note)
            _say(note)


def _gone(before: Sequence[Picture], after: Sequence[Picture], reason: str, told: _Told) -> list[Skipped]:
    kept = {picture.path for picture in after}
    gone = [picture for picture in before if picture.path not in kept]
    if gone:
        told(f"{reason.split(':')[0]} leaves {len(gone)} pictures out")
    return [Skipped(picture.path, reason.format(label=picture.label)) for picture in gone]


def _missing_from_splits(labels: Sequence[str], pictures: Sequence[Picture]) -> list[str]:
    seen = {(picture.split, picture.label) for picture in pictures}
    absent = {name: [label for label in labels if (name, label) not in seen] for name in SPLITS}
    return [f"warning: no {name} pictures of {some(of)}" for name, of in absent.items() if of]


def _provided(config: DatasetConfig) -> Path:
    if config.path is None:
        raise DatasetError("dataset.path: missing; give the folder that holds the pictures, here or as DATA=/--data")
    folder = Path(config.path)
    if config.source is None:
        return folder
    try:
        missing, empty = not folder.exists(), folder.is_dir() and not any(folder.iterdir())
    except OSError as error:
        raise DatasetError(f"{folder}: cannot be read: {error.strerror or error}") from None
    if empty:
        raise DatasetError(f"{folder}: is empty; remove it, then it is filled from the source {config.source}")
    if missing:
        from vitrine_export.datasets.sources import provide

        provide(config.source, folder)
    return folder


def _check(
    listing: Listing, split: Split, preprocessing: Preprocessing
) -> tuple[list[Picture], list[Skipped], dict[str, np.ndarray]]:
    """Usable pictures, files that are not, and a thumbnail float32 [16, 16] for each usable content."""
    shares = shares_of(split, {file.split for file in listing.files if file.split is not None})
    checked = tqdm(
        check_files((file.path for file in listing.files), listing.root, preprocessing.geometry),
        "checking pictures",
        len(listing.files),
        unit="picture",
    )
    pictures, skipped, thumbnails = [], list(listing.skipped), {}
    for file, outcome in zip(listing.files, checked, strict=True):
        name = shown(file.path, listing.root)
        if outcome.reason is None and outcome.thumbnail is not None:
            part = file.split or split_of(outcome.sha256, shares, split.seed)
            pictures.append(Picture(name, file.label, outcome.sha256, part))
            thumbnails[outcome.sha256] = outcome.thumbnail
        else:
            skipped.append(Skipped(name, outcome.reason or ""))
    return pictures, skipped, thumbnails


def _require_pictures(listing: Listing, pictures: Sequence[Picture], skipped: Sequence[Skipped]) -> None:
    used = {picture.label for picture in pictures}
    empty = [label for label in listing.labels if label not in used]
    if empty:
        paths = {shown(file.path, listing.root) for file in listing.files if file.label in empty}
        unusable = [entry for entry in skipped if entry.path in paths]
        detail = f" ({len(unusable)} files cannot be used, the first: {unusable[0].reason})" if unusable else ""
        raise DatasetError(
            f"{listing.root}: classes with no pictures: {some(map(repr, empty))}{detail}; add pictures or remove the "
            "class"
        )
    in_train = {picture.label for picture in pictures if picture.split == "train"}
    missing = [label for label in listing.labels if label not in in_train]
    if missing:
        raise DatasetError(
            f"{listing.root}: too few pictures, the training split has none of {some(map(repr, missing))}; add some"
        )
    present = {picture.split for picture in pictures}
    for name in SPLITS:
        if name not in present:
            raise DatasetError(
                f"{listing.root}: {len(pictures)} pictures are too few, the {name} split is empty; "
                "add pictures or give it a larger share in dataset.split"
            )


def _look_alikes_text(pictures: Sequence[Picture], alike: dict[int, int], policy: str) -> str:
    # Of two labels each finds the other: said once.
    once = {frozenset(pair): (pictures[pair[0]].path, f"looks like {pictures[pair[1]].path}") for pair in alike.items()}
    outcome = "left out" if policy == "drop" else "kept; dataset.duplicates: drop leaves them out"
    return (
        f"warning: {len(alike)} pictures look like one in another split or class, such as re-encoded copies "
        f"({outcome}): {_pairs(once.values())}"
    )


def _pairs(pairs: Iterable[tuple[str, str]]) -> str:
    return some((f"{path} ({reason})" for path, reason in pairs), 3)


def _say_skipped(skipped: Sequence[Skipped]) -> None:
    if not skipped:
        return
    kinds = Counter(entry.reason.split(":")[0] for entry in skipped)
    _say(f"skipped {len(skipped)} files ({', '.join(f'{count} {kind}' for kind, count in kinds.most_common())}):")
    for entry in skipped[:_LISTED]:
        _say(f"  {entry.path}: {entry.reason}")
    if len(skipped) > _LISTED:
        _say(f"  and {len(skipped) - _LISTED} more; all of them are in dataset.json")


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
