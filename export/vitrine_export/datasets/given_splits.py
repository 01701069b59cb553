"""Class folders in train/, valid/ and test/: the layout that says itself which picture is for what."""

from __future__ import annotations

from pathlib import Path

from vitrine_export.datasets.index import SPLITS, Skipped, SplitName
from vitrine_export.datasets.listing import (
    OWN_FOLDER,
    Labelled,
    Listing,
    class_files,
    folders_in,
    holds_pictures,
    require_labels,
    some,
)
from vitrine_export.errors import DatasetError

ROLES: dict[str, SplitName] = {
    "train": "train",
    "training": "train",
    "valid": "validation",
    "validation": "validation",
    "val": "validation",
    "test": "test",
    "testing": "test",
}


def are_splits(root: Path) -> bool:
    """Whether the folders of `root` look like splits with class folders, and not like classes."""
    folders = folders_in(root)
    roles = [(ROLES.get(folder.name.lower()), folder) for folder in folders]
    parted = [role for role, folder in roles if role and folders_in(folder) and not holds_pictures(folder)]
    # "train" may also be a class, beside "plane" and "ship".
    return "train" in parted and (len(parted) > 1 or all(role for role, _ in roles))


def list_splits(root: Path) -> Listing:
    """The files of each split below `root`, labelled by their class folder.

    Files of the training folder have no split where validation or test pictures must still be taken from them.
    Raises DatasetError for splits that do not fit together.
    """
    by_split, notes = _split_folders(root)
    if "train" not in by_split:
        raise DatasetError(
            f"{root}: the layout `splits` needs train/ with one folder per class; found "
            f"{some(folder.name + '/' for folder in folders_in(root)) or 'no folders'}"
        )
    classes = {name: folders_in(folder) for name, folder in by_split.items()}
    labels = [folder.name for folder in classes["train"]]
    require_labels(by_split["train"], labels, "class folders", OWN_FOLDER)
    for name, folders in classes.items():
        unknown = [folder.name for folder in folders if folder.name not in labels]
        if unknown:
            raise DatasetError(
                f"{by_split[name]}: classes that {by_split['train'].name}/ does not have: {some(unknown)}; a network "
                "cannot learn them: remove these folders or add training pictures"
            )
    missing = [name for name in SPLITS if name not in by_split]
    if missing:
        notes.append(f"no {' and no '.join(missing)} folder: taken from {by_split['train'].name}/ by content")
    files: list[Labelled] = []
    skipped: list[Skipped] = []
    for name in (split for split in SPLITS if split in by_split):
        found, unreadable = class_files(classes[name], None if missing and name == "train" else name, root)
        files += found
        skipped += unreadable
    return Listing("splits", root, tuple(labels), files, skipped, notes)


def _split_folders(root: Path) -> tuple[dict[SplitName, Path], list[str]]:
    by_split: dict[SplitName, Path] = {}
    notes = []
    for folder in folders_in(root):
        role = ROLES.get(folder.name.lower())
        if role is None:
            notes.append(f"{folder.name}/ is none of the splits and not used")
        elif not folders_in(folder):
            notes.append(f"{folder.name}/ holds no class folders and is not used")
        elif role in by_split:
            raise DatasetError(
                f"{root}: {by_split[role].name}/ and {folder.name}/ are both {role} pictures; merge them or remove one"
            )
        else:
            by_split[role] = folder
    return by_split, notes
