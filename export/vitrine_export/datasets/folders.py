"""A folder of class folders: the layout that most people's pictures are in."""

from __future__ import annotations

from pathlib import Path

from vitrine_export.datasets.given_splits import ROLES
from vitrine_export.datasets.listing import OWN_FOLDER, Listing, class_files, folders_in, pictures_in, require_labels
from vitrine_export.errors import DatasetError


def list_folders(root: Path) -> Listing:
    """The files below `root`; a sub-folder's name is the label of all pictures in it.

    Raises DatasetError for folders that cannot be classes.
    """
    folders = folders_in(root)
    if folders and all(folder.name.lower() in ROLES and folders_in(folder) for folder in folders):
        raise DatasetError(
            f"{root}: these are splits, not classes: {', '.join(folder.name for folder in folders)}; "
            "set dataset.layout: splits, or give a folder that holds one folder of pictures per class"
        )
    require_labels(root, [folder.name for folder in folders], "class folders", OWN_FOLDER)
    files, skipped = class_files(folders, None, root)
    loose = sum(1 for _ in pictures_in(root))
    notes = [f"{loose} pictures beside the class folders have no label and are not used"] if loose else []
    return Listing("folders", root, tuple(folder.name for folder in folders), files, skipped, notes)
