"""Where the pictures of the recipes come from.

Archives are kept in ${VITRINE_CACHE:-~/.cache/vitrine}/downloads, and one that was put there by hand is used as it
is. With VITRINE_MIRROR=URL they are downloaded from URL/NAME in place of their own addresses; checksums stay.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from vitrine_export.archives import ArchiveError, unpack
from vitrine_export.datasets.digits import write_digits
from vitrine_export.errors import DatasetError
from vitrine_export.fetching import FetchError, Unreachable, fetch
from vitrine_export.kaggle import from_kaggle
from vitrine_export.staging import replacing


@dataclass(frozen=True)
class Archive:
    url: str
    top: str
    """The folder in the archive that holds the layout."""
    sha256: str | None
    """None where no sum is published: then the first download's is recorded, and later ones are compared with it."""
    size: int | None = None
    """In bytes."""

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]


ARCHIVES: Mapping[str, Archive] = {
    # The sum is the one of tensorflow_datasets (url_checksums/tf_flowers.txt) for this file of this bucket at its other
    # address, http://download.tensorflow.org/example_images/flower_photos.tgz.
    "flower_photos": Archive(
        "https://storage.googleapis.com/download.tensorflow.org/example_images/flower_photos.tgz",
        "flower_photos",
        "4c54ace7911aaffe13a365c34f650e71dd5bf1be0a58b464e5a7183e3e595d9c",
        228_813_984,
    ),
    # tensorflow_datasets has the sum of the former kagglecatsanddogs_3367a.zip only, which is no longer served; this
    # is the sum that GoMLX publishes (examples/dogsvscats), for this address.
    "pet_images": Archive(
        "https://download.microsoft.com/download/3/E/1/3E1C3F21-ECDB-4869-8368-6DEBA77B919F/kagglecatsanddogs_5340.zip",
        "PetImages",
        "b7974bd00a84a99921f36ee4403f089853777b5ae8d151c76a86e64900334af9",
        824_887_076,
    ),
    # No published sum was found. The size is what the server has said in logs of other people's downloads.
    "dog_images": Archive(
        "https://s3-us-west-1.amazonaws.com/udacity-aind/dog-project/dogImages.zip",
        "dogImages",
        None,
        1_132_023_110,
    ),
}
COMPETITION = "dog-breed-identification"
_COMPETITION_FILES = ("labels.csv", "train")


def provide(source: str, folder: Path, archives: Mapping[str, Archive] = ARCHIVES) -> None:
    """Make or download the pictures of `source` (a name of `dataset.source`) as `folder`, which directly holds them.

    `folder` appears whole or not at all; where it holds something already, nothing is done. Raises DatasetError
    where the pictures cannot be had or written; offline, its text says where to put the archive by hand.
    """
    if _is_there(folder):
        return
    if source == "digits":
        write_digits(folder)
    elif source == "dog_breed_identification":
        _provide_competition(folder)
    elif source in archives:
        _provide_archive(archives[source], folder)
    else:
        known = ", ".join(sorted(["digits", "dog_breed_identification", *archives]))
        raise DatasetError(f"no data set {source!r}; there are {known}")


def downloads() -> Path:
    """The folder that archives are kept in."""
    return Path(os.environ.get("VITRINE_CACHE") or "~/.cache/vitrine").expanduser() / "downloads"


def _is_there(folder: Path) -> bool:
    try:
        return any(folder.iterdir())
    except FileNotFoundError:
        return False
    except OSError as error:
        raise DatasetError(f"{folder}: cannot be read: {error.strerror or error}") from None


def _provide_archive(archive: Archive, folder: Path) -> None:
    file = downloads() / archive.name
    record = file.with_name(f"{file.name}.sha256")
    expected = archive.sha256 or _recorded(record)
    try:
        digest = fetch(_address(archive), file, sha256=expected, size=archive.size)
        _unpack_once(file, folder, archive.top)
        if archive.sha256 is None and expected is None:
            record.write_text(f"{digest}  {file.name}\n")
    except Unreachable as error:
        raise DatasetError(
            f"{folder} does not exist, and the pictures cannot be downloaded: {error}; {_by_hand(file, folder)}, "
            "or name a mirror in VITRINE_MIRROR"
        ) from None
    except FetchError as error:
        hint = f" (the sum of the first download, in {record})" if expected and archive.sha256 is None else ""
        raise DatasetError(f"{folder}: the pictures cannot be downloaded: {error}{hint}") from None
    except (ArchiveError, OSError) as error:
        raise DatasetError(f"{folder}: {error}") from None


def _unpack_once(file: Path, folder: Path, top: str = "", only: tuple[str, ...] = ()) -> None:
    # A second process would take the finished folder away from under the first one for a moment.
    with _alone(file):
        if not _is_there(folder):
            unpack(file, folder, top=top, only=only)


@contextlib.contextmanager
def _alone(file: Path) -> Iterator[None]:
    with file.open("rb") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield


def _address(archive: Archive) -> str:
    mirror = os.environ.get("VITRINE_MIRROR")
    return f"{mirror.rstrip('/')}/{archive.name}" if mirror else archive.url


def _recorded(record: Path) -> str | None:
    try:
        return record.read_text().split()[0]
    except (FileNotFoundError, IndexError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{record}: cannot be read: {error}; remove it") from None


def _by_hand(file: Path, folder: Path) -> str:
    return (
        f"download it where there is a network and put it at {file.absolute()}, "
        f"or put the pictures into {folder.absolute()}"
    )


def _provide_competition(folder: Path) -> None:
    file = downloads() / f"{COMPETITION}.zip"
    page = f"https://www.kaggle.com/competitions/{COMPETITION}"
    try:
        if file.exists():
            _unpack_once(file, folder, only=_COMPETITION_FILES)
            return
        found = from_kaggle(page, lambda kagglehub: kagglehub.competition_download(COMPETITION), account=True)
        _copy_competition(found, folder)
    except FetchError as error:
        raise DatasetError(
            f"{folder} does not exist, and the pictures cannot be downloaded: {error}. The competition's rules must be "
            f"accepted once, at {page}/rules. Without a network or an account here, {_by_hand(file, folder)}"
        ) from None
    except (ArchiveError, OSError) as error:
        raise DatasetError(f"{folder}: {error}") from None


def _copy_competition(found: Path, folder: Path) -> None:
    missing = [name for name in _COMPETITION_FILES if not (found / name).exists()]
    if missing:
        raise DatasetError(f"{found}: Kaggle's download holds no {' and no '.join(missing)}; remove it and try again")
    with replacing(folder) as fresh:
        for name in _COMPETITION_FILES:
            source = found / name
            if source.is_dir():
                shutil.copytree(source, fresh / name)
            else:
                shutil.copy(source, fresh / name)
