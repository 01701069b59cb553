"""What a layout finds: files with their labels, before any of them is read."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from vitrine_export.datasets.checks import PICTURE_SUFFIXES
from vitrine_export.datasets.index import Skipped, SplitName
from vitrine_export.errors import DatasetError

OWN_FOLDER = "put the pictures of each class into a folder of their own"


class Labelled(NamedTuple):
    path: Path
    label: str
    split: SplitName | None
    """None where the file's content decides."""


@dataclass(frozen=True)
class Listing:
    layout: str
    root: Path
    labels: tuple[str, ...]
    files: list[Labelled]
    skipped: list[Skipped] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What the user is told about the layout."""


def folders_in(folder: Path) -> list[Path]:
    """The folders right below `folder`, sorted; not hidden ones. Raises DatasetError where it cannot be read."""
    return sorted(folder / entry.name for entry in _entries(folder) if _is_folder(entry))


def holds_pictures(folder: Path) -> bool:
    """Whether a file right below `folder` is a picture by its name."""
    return next(pictures_in(folder), None) is not None


def pictures_in(folder: Path) -> Iterator[str]:
    """Names of the files right below `folder` that are pictures by their name, in no order."""
    return (entry.name for entry in _entries(folder) if _is_picture(entry.name) and not _is_folder(entry))


def files_below(folder: Path, root: Path) -> tuple[list[Path], list[Skipped]]:
    """All files below `folder`, sorted, and the folders below it that cannot be read.

    Links to folders are followed, each folder is entered once, so loops of links end. Hidden files and folders are
    passed over.
    """
    files: list[Path] = []
    skipped: list[Skipped] = []

    def unreadable(error: OSError) -> None:
        skipped.append(Skipped(shown(Path(error.filename), root), f"cannot be read: {error.strerror or error}"))

    seen: set[tuple[int, int]] = set()
    for parent, folders, names in os.walk(folder, followlinks=True, onerror=unreadable):
        status = Path(parent).stat()
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not _hidden(name))
        files.extend(Path(parent, name) for name in names if not _hidden(name))
    return sorted(files), skipped


def class_files(folders: list[Path], split: SplitName | None, root: Path) -> tuple[list[Labelled], list[Skipped]]:
    """All files of the class folders, labelled."""
    files, skipped = [], []
    for folder in folders:
        found, unreadable = files_below(folder, root)
        files += [Labelled(path, folder.name, split) for path in found]
        skipped += unreadable
    return files, skipped


def shown(path: Path, root: Path) -> str:
    """`path` relative to `root` with forward slashes, as text that can be written down whatever its bytes are."""
    return path.relative_to(root).as_posix().encode(errors="replace").decode()


def require_labels(root: Path, labels: Iterable[str], kind: str, way_out: str) -> None:
    """Raise DatasetError for fewer than two labels and for such as people or programs would mix up.

    `kind` says what the labels are: "class folders"; `way_out`, how to have more.
    """
    labels = list(labels)
    if len(labels) < 2:
        found = f"only {labels[0]!r}" if labels else "none"
        raise DatasetError(f"{root}: needs at least two {kind}, found {found}; {way_out}")
    for label in labels:
        if not label.isprintable():
            raise DatasetError(
                f"{root}: {label!a}, one of the {kind}, cannot be a label: its name holds characters that cannot be "
                "printed; rename it"
            )
    alike: dict[str, list[str]] = defaultdict(list)
    for label in labels:
        alike[unicodedata.normalize("NFC", label.casefold())].append(label)
    clashes = [names for names in alike.values() if len(names) > 1]
    if clashes:
        pairs = "; ".join(" and ".join(map(repr, names)) for names in clashes)
        raise DatasetError(
            f"{root}: {kind} whose names differ only in case or in accents' encoding: {pairs}; merge or rename them"
        )


def some(names: Iterable[str], most: int = 5) -> str:
    """The first names of many, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not _hidden(entry.name)]
    except NotADirectoryError:
        raise DatasetError(f"{folder}: is a file, not a folder; unpack it first if it is an archive") from None
    except OSError as error:
        raise DatasetError(f"{folder}: cannot be read: {error.strerror or error}") from None


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        # A link that leads to itself.
        return False


def _is_picture(name: str) -> bool:
    return Path(name).suffix.lower() in PICTURE_SUFFIXES


def _hidden(name: str) -> bool:
    # macOS adds __MACOSX to the archives that it makes.
    return name.startswith(".") or name == "__MACOSX"
