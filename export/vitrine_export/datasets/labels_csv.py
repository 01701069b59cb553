"""labels.csv beside train/: the layout of Kaggle's competitions."""

from __future__ import annotations

import csv
import unicodedata
from collections import defaultdict
from pathlib import Path

from vitrine_export.datasets.index import Skipped
from vitrine_export.datasets.listing import Labelled, Listing, folders_in, pictures_in, require_labels, shown, some
from vitrine_export.errors import DatasetError

NAME = "labels.csv"


def has_labels(root: Path) -> bool:
    return (root / NAME).is_file() and (root / "train").is_dir()


def list_labels_csv(root: Path) -> Listing:
    """The pictures train/<id>.<suffix> with the labels that labels.csv gives to their ids.

    Raises DatasetError for a table that cannot be read or used.
    """
    table, train = root / NAME, root / "train"
    if not has_labels(root):
        raise DatasetError(f"{root}: the layout `csv` needs {NAME} (id, label) and train/ with the pictures in it")
    rows, skipped = _read(table)
    labels = tuple(sorted({label for _, label in rows}))
    require_labels(table, labels, "labels", "add pictures of another class")
    by_id: dict[str, list[Path]] = defaultdict(list)
    for name in sorted(pictures_in(train)):
        by_id[_key(Path(name).stem)].append(train / name)
    for path, *others in by_id.values():
        skipped += [Skipped(shown(other, root), f"the id has another file: {path.name}") for other in others]
    files = []
    taken = set()
    for identity, label in rows:
        # Some tables give the whole file name.
        key = _key(identity) if _key(identity) in by_id else _key(Path(identity).stem)
        if key in by_id:
            files.append(Labelled(by_id[key][0], label, None))
            taken.add(key)
        else:
            skipped.append(Skipped(f"train/{identity}", f"no file: {NAME} names the id, train/ has no picture of it"))
    if not files:
        raise DatasetError(
            f"{table}: none of its {len(rows)} ids, such as {rows[0][0]!r}, is a picture in {train}, which holds "
            f"{some((paths[0].name for paths in by_id.values()), 1) or 'none'}"
        )
    for key, (path, *_) in by_id.items():
        if key not in taken:
            skipped.append(Skipped(shown(path, root), f"no label: {NAME} does not name it"))
    return Listing("csv", root, labels, sorted(set(files)), skipped, _notes(root))


def _notes(root: Path) -> list[str]:
    unused = [folder for folder in folders_in(root) if folder.name != "train"]
    notes = [f"{folder.name}/ has no labels and is not used" for folder in unused]
    nested = folders_in(root / "train")
    if nested:
        notes.append(f"folders in train/ are not looked into: {some(folder.name for folder in nested)}")
    return notes


def _read(table: Path) -> tuple[list[tuple[str, str]], list[Skipped]]:
    """(id, label) of each row, each pair once, in the order of the table; and the rows that cannot be used."""
    rows: dict[tuple[str, str], None] = {}
    skipped = []
    try:
        # A byte order mark is what Excel begins such a file with.
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            if len(header) < 2 or header[0].strip().lower() != "id":
                raise DatasetError(
                    f"{table}: its first line must name the columns, id and then the label, separated by a comma, such "
                    f"as id,breed; found {','.join(header)[:80]!r}"
                )
            for row in reader:
                identity, label = (*(cell.strip() for cell in row), "", "")[:2]
                if identity and label:
                    _require_name(identity, table, reader.line_num)
                    rows[identity, label] = None
                elif any(row):
                    skipped.append(
                        Skipped(f"{NAME} line {reader.line_num}", "no id or no label: the row is incomplete")
                    )
    except UnicodeDecodeError as error:
        raise DatasetError(f"{table}: is not UTF-8 text: {error.reason}; save it as UTF-8") from None
    except csv.Error as error:
        raise DatasetError(f"{table}: line {reader.line_num} cannot be read: {error}") from None
    except OSError as error:
        raise DatasetError(f"{table}: cannot be read: {error.strerror or error}") from None
    if not rows:
        raise DatasetError(f"{table}: holds no labels; each line below the first is an id and its label")
    return list(rows), skipped


def _require_name(identity: str, table: Path, line: int) -> None:
    if identity in (".", "..") or not identity.isprintable() or any(part in identity for part in "/\\"):
        raise DatasetError(
            f"{table}: line {line}: the id {identity!a} is no file name in train/; ids are names without a folder"
        )


def _key(name: str) -> str:
    # macOS writes accents in file names as characters of their own.
    return unicodedata.normalize("NFC", name)
