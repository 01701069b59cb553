"""Archives unpacked as if each were an attack: they come from the network, and not all have a published checksum."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any

from tqdm import tqdm

from vitrine_export.staging import replacing

MAX_BYTES = 32 * 2**30
MAX_FILES = 200_000
_LONGEST_READ_BYTES = 16 * 2**20


class ArchiveError(Exception):
    """An archive that cannot or must not be unpacked; the text names it, the reason and the way out."""


@dataclass(frozen=True)
class _Member:
    name: str
    is_folder: bool
    size: int
    open: Callable[[], IO[bytes]]
    position: int
    """Bytes of the archive read so far, for the progress bar."""


def unpack(
    archive: Path,
    folder: Path,
    *,
    top: str = "",
    only: Collection[str] = (),
    max_bytes: int = MAX_BYTES,
    max_files: int = MAX_FILES,
) -> int:
    """Unpack a .tar.gz, .tar or .zip (told by its content) into `folder`, and return how many files it became.

    `folder` is replaced, and appears whole or not at all. With `top`, it holds what is below that folder of the
    archive, the rest is left out; with `only`, of that just the files and folders of these names. Modes, owners and
    times are not taken over. Raises ArchiveError for anything but files and folders (links, devices), for a path
    that leads out, for more than `max_bytes` or `max_files` in all, for a damaged archive, and where `folder` cannot
    be written.
    """
    try:
        with replacing(folder) as fresh:
            return _unpack_to(archive, fresh, PurePosixPath(top), only, max_bytes, max_files)
    # Both modules let the last three of these through where numbers or names in a header make no sense.
    except (
        tarfile.TarError,
        zipfile.BadZipFile,
        gzip.BadGzipFile,
        zlib.error,
        EOFError,
        NotImplementedError,
        ValueError,
        OverflowError,
    ) as error:
        raise ArchiveError(f"{archive}: damaged ({error}); remove it and try again") from None
    except OSError as error:
        raise ArchiveError(f"cannot unpack {archive} to {folder}: {error.strerror or error}") from None


def _unpack_to(
    archive: Path, folder: Path, top: PurePosixPath, only: Collection[str], max_bytes: int, max_files: int
) -> int:
    count = entries = size = 0
    others: set[str] = set()
    with (
        _opened(archive) as members,
        tqdm(
            desc=f"unpacking {archive.name}", total=archive.stat().st_size, unit="B", unit_scale=True, unit_divisor=1024
        ) as bar,
    ):
        for member in members:
            bar.update(member.position - bar.n)
            entries += 1
            # Neither module gives out more of a file than its header says.
            size += member.size
            if entries > max_files or size > max_bytes:
                raise ArchiveError(
                    f"{archive}: not unpacked, it holds more than {max_files} files or {max_bytes} bytes, "
                    "which is the most that is taken; remove it"
                )
            path = _inner_path(archive, member.name)
            inner = path.relative_to(top) if path.is_relative_to(top) else None
            if inner is None or (only and not set(inner.parts[:1]) <= set(only)):
                others.update(path.parts[:1])
            elif member.is_folder:
                (folder / inner).mkdir(parents=True, exist_ok=True)
            else:
                (folder / inner).parent.mkdir(parents=True, exist_ok=True)
                with member.open() as source, (folder / inner).open("wb") as file:
                    shutil.copyfileobj(source, file)
                count += 1
    if not count:
        wanted = f"in {top} " if top.parts else ""
        raise ArchiveError(
            f"{archive}: no file {wanted}was found, but {', '.join(sorted(others)[:5]) or 'nothing'}; "
            "is it the right archive? Remove it and try again"
        )
    return count


def _inner_path(archive: Path, name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise ArchiveError(f"{archive}: not unpacked, the path {name!r} in it may lead out of the folder; remove it")
    return path


@contextmanager
def _opened(archive: Path) -> Iterator[Iterator[_Member]]:
    with archive.open("rb") as file:
        start = file.read(4)
        file.seek(0)
        if start.startswith(b"PK"):
            with zipfile.ZipFile(file) as zipped:
                yield _zip_members(archive, zipped)
        elif start.startswith(b"\x1f\x8b") or tarfile.is_tarfile(archive):
            unzipped = gzip.GzipFile(fileobj=file) if start.startswith(b"\x1f\x8b") else file
            with tarfile.open(fileobj=_Sparing(unzipped), mode="r:") as tar:
                yield _tar_members(archive, tar, file)
        else:
            raise ArchiveError(f"{archive}: neither tar.gz nor zip, it begins with {start!r}; remove it and try again")


def _tar_members(archive: Path, tar: tarfile.TarFile, file: IO[bytes]) -> Iterator[_Member]:
    while (info := tar.next()) is not None:
        if not (info.isfile() or info.isdir()):
            raise ArchiveError(f"{archive}: not unpacked, {info.name!r} in it is a link or a device; remove it")
        yield _Member(info.name, info.isdir(), info.size, partial(_content, tar, info), file.tell())


def _content(tar: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    content = tar.extractfile(info)
    if content is None:
        raise tarfile.ReadError(f"{info.name!r} has no content")
    return content


def _zip_members(archive: Path, zipped: zipfile.ZipFile) -> Iterator[_Member]:
    position = 0
    for info in zipped.infolist():
        if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise ArchiveError(f"{archive}: not unpacked, {info.filename!r} in it is a link or a device; remove it")
        if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ArchiveError(
                f"{archive}: not unpacked, {info.filename!r} in it is encrypted or not compressed by deflate; remove it"
            )
        position += info.compress_size
        yield _Member(info.filename, info.is_dir(), info.file_size, partial(zipped.open, info), position)


class _Sparing(io.BufferedIOBase):
    """Reads a file for tarfile, but not as much at once as a header may ask it to: that would fill the memory."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= _LONGEST_READ_BYTES:
            raise tarfile.ReadError("a header of it is too long")
        return self._file.read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()
