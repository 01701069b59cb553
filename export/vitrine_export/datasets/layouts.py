"""How pictures and labels lie in a folder: named by the recipe or found by looking."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vitrine_export.datasets import labels_csv
from vitrine_export.datasets.folders import list_folders
from vitrine_export.datasets.given_splits import ROLES, are_splits, list_splits
from vitrine_export.datasets.labels_csv import list_labels_csv
from vitrine_export.datasets.listing import OWN_FOLDER, Listing, folders_in, holds_pictures, pictures_in, some
from vitrine_export.errors import DatasetError

_LAYOUTS: dict[str, tuple[Callable[[Path], Listing], str]] = {
    "folders": (list_folders, "one folder per class"),
    "csv": (list_labels_csv, "labels.csv and train/"),
    "splits": (list_splits, "class folders in train/, valid/ and test/"),
}


def find(folder: Path, layout: str) -> Listing:
    """All files below `folder` with their labels; `layout` is "folders", "csv", "splits" or "auto".

    A folder that holds nothing but another one is entered. Raises DatasetError where the layout is not there, or
    where "auto" finds none or more than one.
    """
    given = _resolved(folder)
    root = _entered(given, layout)
    taken = _look(root) if layout == "auto" else layout
    lister, what = _LAYOUTS[taken]
    listing = lister(root)
    entered = f", in {root.relative_to(given)}/" if root.is_relative_to(given) and root != given else ""
    listing.notes.insert(0, f"layout {taken}: {what}{entered}")
    return listing


def _resolved(folder: Path) -> Path:
    try:
        root = folder.resolve()
        str(root).encode()
    except UnicodeEncodeError:
        raise DatasetError(f"{str(folder)!a}: the folder's name is no text in UTF-8; rename it") from None
    except (OSError, RuntimeError) as error:
        raise DatasetError(f"{folder}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    return root


def _entered(root: Path, layout: str) -> Path:
    seen = set()
    while root not in seen:
        seen.add(root)
        folders = folders_in(root)
        if len(folders) != 1 or labels_csv.has_labels(root) or holds_pictures(root):
            break
        only = folders[0]
        is_split = only.name.lower() in ROLES and layout != "folders"
        if is_split or not (folders_in(only) or labels_csv.has_labels(only)) or holds_pictures(only):
            break
        root = only.resolve()
    return root


def _look(root: Path) -> str:
    """The layout of `root`."""
    folders = folders_in(root)
    csv, splits = labels_csv.has_labels(root), are_splits(root)
    if csv and splits:
        raise DatasetError(
            f"{root}: could be two layouts: labels.csv beside train/, and class folders in train/; say which one in "
            "dataset.layout: csv or splits"
        )
    if csv or splits:
        return "csv" if csv else "splits"
    if len(folders) > 1 and all(folders_in(folder) and not holds_pictures(folder) for folder in folders):
        raise DatasetError(
            f"{root}: no pictures right in its folders {some(folder.name for folder in folders)}, only further folders "
            f"({some(f'{folders[0].name}/{folder.name}' for folder in folders_in(folders[0]))}); give one of them as "
            "dataset.path, or set dataset.layout: folders if they are the classes"
        )
    if len(folders) > 1:
        return "folders"
    pictures = list(pictures_in(root))
    found = [f"only the folder {folders[0].name!r}" if folders else "no folder"]
    found += [f"{len(pictures)} pictures in no folder, such as {min(pictures)}"] if pictures else []
    found += ["labels.csv without train/"] if (root / labels_csv.NAME).is_file() else []
    looked = "; ".join(f"{name}: {what}" for name, (_, what) in _LAYOUTS.items())
    raise DatasetError(
        f"{root}: no layout that is known; looked for {looked}; found {' and '.join(found)}; needs at least two class "
        f"folders: {OWN_FOLDER}"
    )
