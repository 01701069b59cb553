"""A folder of class folders: the layout that most people's pictures are in."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf
from tqdm import tqdm

from vitrine_export.datasets.checks import Checked, check_files
from vitrine_export.datasets.index import SPLITS, DatasetIndex, Picture, Skipped, SplitName
from vitrine_export.errors import DatasetError
from vitrine_export.recipe import Split

_SPLIT_NAMES = {"train", "training", "valid", "validation", "val", "test", "testing"}


def index_folders(root: Path, split: Split, preprocess: Callable[[tf.Tensor], tf.Tensor]) -> DatasetIndex:
    """Find, check and split the pictures below `root`; a sub-folder's name is the label of all pictures in it.

    Files that `preprocess` (string [] to image) cannot take are left out and listed with the reason. Hidden files
    and folders are passed over. Raises DatasetError for a layout that cannot be trained on.
    """
    root = root.resolve()
    classes = _class_folders(root)
    files = [(label, path) for label, folder in classes.items() for path in _files(folder)]
    checked = tqdm(
        check_files((path for _, path in files), preprocess), "checking pictures", len(files), unit="picture"
    )
    pictures, skipped = [], []
    for (label, _), outcome in zip(files, checked, strict=True):
        name = outcome.path.relative_to(root).as_posix().encode(errors="replace").decode()
        if outcome.reason is None:
            pictures.append(Picture(name, label, outcome.sha256, split_of(outcome, split)))
        else:
            skipped.append(Skipped(name, outcome.reason))
    _require_pictures(root, classes, pictures, skipped)
    return DatasetIndex(str(root), tuple(classes), tuple(pictures), tuple(skipped))


def split_of(checked: Checked, split: Split) -> SplitName:
    """The split that a file's content belongs to: the same for every run, whatever other files there are."""
    position = int(checked.sha256[:16], 16) / 2**64
    if position < split.train:
        return "train"
    return "validation" if position < split.train + split.validation else "test"


def _class_folders(root: Path) -> dict[str, Path]:
    try:
        folders = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    except OSError as error:
        raise DatasetError(f"{root}: cannot be read: {error.strerror or error}") from None
    if len(folders) < 2:
        found = f"only {folders[0].name!r}" if folders else "none"
        raise DatasetError(
            f"{root}: needs at least two class folders, found {found}; "
            "put the pictures of each class into a folder of their own"
        )
    for folder in folders:
        if not folder.name.isprintable():
            raise DatasetError(
                f"{root}: the class folder {folder.name!a} cannot be a label: its name holds characters that "
                "cannot be printed; rename it"
            )
    if all(folder.name.lower() in _SPLIT_NAMES and _has_folders(folder) for folder in folders):
        raise DatasetError(
            f"{root}: these are splits, not classes: {', '.join(folder.name for folder in folders)}; "
            "give a folder that holds one folder of pictures per class, such as one of them"
        )
    by_lower: dict[str, list[str]] = defaultdict(list)
    for folder in folders:
        by_lower[folder.name.casefold()].append(folder.name)
    clashes = [names for names in by_lower.values() if len(names) > 1]
    if clashes:
        pairs = "; ".join(" and ".join(map(repr, names)) for names in clashes)
        raise DatasetError(f"{root}: class folders whose names differ only in case: {pairs}; merge or rename them")
    return {folder.name: folder for folder in folders}


def _has_folders(folder: Path) -> bool:
    return any(entry.is_dir() for entry in folder.iterdir())


def _files(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def _require_pictures(root: Path, classes: dict[str, Path], pictures: list[Picture], skipped: list[Skipped]) -> None:
    per_class = Counter(picture.label for picture in pictures)
    empty = [label for label in classes if not per_class[label]]
    if empty:
        unusable = [entry for entry in skipped if entry.path.split("/")[0] in empty]
        detail = f" ({len(unusable)} files cannot be used, the first: {unusable[0].reason})" if unusable else ""
        raise DatasetError(
            f"{root}: class folders with no pictures: {', '.join(map(repr, empty))}{detail}; "
            "add pictures or remove the folder"
        )
    in_train = {picture.label for picture in pictures if picture.split == "train"}
    missing = [label for label in classes if label not in in_train]
    if missing:
        raise DatasetError(
            f"{root}: too few pictures, the training split has none of {', '.join(map(repr, missing))}; add some"
        )
    present = {picture.split for picture in pictures}
    for name in SPLITS:
        if name not in present:
            raise DatasetError(
                f"{root}: {len(pictures)} pictures are too few, the {name} split is empty; "
                "add pictures or give it a larger share in dataset.split"
            )
