"""What a model store says about a version: its manifest and its golden pictures, from a folder or an object store.

The manifest is the one that vitrine-export writes, `assets.extra/manifest.json`. A store is written by others, so
what is read is limited in size, and a path in a manifest may not lead out of its version.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from vitrine_client.results import TensorInfo
from vitrine_serving.config.pinning import check_name
from vitrine_serving.errors import CommandError

_MANIFEST = "assets.extra/manifest.json"
_SAVED_MODEL = "saved_model.pb"
_MANIFEST_BYTES = 64 << 20
_PICTURE_BYTES = 32 << 20
_ALL_PICTURES_BYTES = 256 << 20
_MOST_PICTURES = 1000
_PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "az": "adlfs"}
_SHOWN = 5
_REASON_LENGTH = 300


class _NotAnExport(Exception):
    """What lies in the store is not what an export writes."""


@dataclass(frozen=True)
class SignatureSpec:
    """One signature's inputs and outputs, by name."""

    inputs: Mapping[str, TensorInfo]
    outputs: Mapping[str, TensorInfo]


@dataclass(frozen=True)
class GoldenPicture:
    """A picture, and the answer that every copy of the version gives about it.

    Attributes:
        name: its path in the version's folder.
        content: the image file's bytes.
        probabilities: in the order of the version's labels.
    """

    name: str
    content: bytes = field(repr=False)
    probabilities: tuple[float, ...]


@dataclass(frozen=True)
class Candidate:
    """A version, as far as its store tells.

    Attributes:
        address: where it lies.
        complete: is there all that its servers need?
        incomplete_reason: why not, with what there is instead; empty where it is complete.
        described: has it a manifest? Without one there are no labels, signatures and golden pictures either.
        blessed: did it load and answer as in production before it was published?
    """

    version: int
    address: str
    labels: tuple[str, ...] = ()
    signatures: Mapping[str, SignatureSpec] = field(default_factory=dict)
    golden: tuple[GoldenPicture, ...] = ()
    blessed: bool = False
    described: bool = False
    incomplete_reason: str = ""

    @property
    def complete(self) -> bool:
        return not self.incomplete_reason


def read_version(store: str, model: str, version: int) -> Candidate:
    """What there is of `version` of `model`; a version that is not there at all is one that is not complete.

    Args:
        store: a folder, or an address that fsspec knows, such as gs://bucket/models or s3://bucket/models.

    Raises:
        CommandError: a store that cannot be read, or a manifest or golden picture that no export has written.
    """
    base = f"{store.rstrip('/')}/{check_name(model)}"
    address = f"{base}/{version}"
    with _explained(address):
        files, path = fsspec.core.url_to_fs(address)
        # What was published a moment ago is not in a listing that was made before.
        files.invalidate_cache()
        if reason := _missing(files, path, version):
            return Candidate(version, address, incomplete_reason=reason)
        content = _content(files, path, _MANIFEST, _MANIFEST_BYTES)
        if content is None:
            return Candidate(version, address)
        manifest = _parsed(content)
        if absent := sorted(set(manifest["files"]) - _names(files, path)):
            more = f" and {len(absent) - _SHOWN} more" if len(absent) > _SHOWN else ""
            reason = f"files of its manifest are not there: {', '.join(absent[:_SHOWN])}{more}"
            return Candidate(version, address, incomplete_reason=reason)
        labels = tuple(manifest["labels"])
        return Candidate(
            version,
            address,
            labels,
            {name: _signature(one) for name, one in manifest["signatures"].items()},
            tuple(_golden(files, path, manifest["golden"], len(labels))),
            bool(manifest.get("blessing")),
            described=True,
        )


@contextmanager
def _explained(address: str) -> Iterator[None]:
    """CommandError with the way out for whatever goes wrong with the store at `address`."""
    protocol = address.partition("://")[0]
    try:
        yield
    except _NotAnExport as error:
        raise CommandError(f"{address}: {error}; publish the version anew (make export)") from None
    except ImportError as error:
        package = _PACKAGES.get(protocol, "the package that the reason names")
        raise CommandError(
            f"{address}: {protocol}:// needs a package that is not installed ({error}); pip install {package}, or "
            "give a folder with a copy of the store"
        ) from None
    # The clients of object stores raise what they like: botocore's, google-auth's and aiohttp's errors have no
    # common base.
    except Exception as error:
        said = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
        raise CommandError(
            f"{address}: cannot be read: {said[:_REASON_LENGTH]}; check the address, that it is reachable from here "
            "and that these credentials may read it, or give a folder with a copy of the store"
        ) from None


def _missing(files: fsspec.AbstractFileSystem, path: str, version: int) -> str:
    """Why a server would not load the version; empty where it would."""
    try:
        # Not `exists`, which takes a store that refuses or is away for one without the file.
        files.info(f"{path}/{_SAVED_MODEL}")
    except (FileNotFoundError, NotADirectoryError):
        found = {PurePosixPath(name).name for name in _listed(files, str(PurePosixPath(path).parent))}
        if str(version) in found:
            return f"it has no {_SAVED_MODEL}"
        numbers = sorted(int(name) for name in found if name.isascii() and name.isdecimal() and len(name) < 20)
        there = ", ".join(map(str, numbers[-_SHOWN:])) or "none"
        return f"there is no such version; the newest there: {there}"
    return ""


def _listed(files: fsspec.AbstractFileSystem, path: str) -> list[str]:
    try:
        return [name.rstrip("/") for name in files.ls(path, detail=False)]
    except FileNotFoundError:
        return []


def _names(files: fsspec.AbstractFileSystem, path: str) -> set[str]:
    """All files of a version, relative to its folder."""
    return {name[len(path) :].lstrip("/") for name in files.find(path)}


def _content(files: fsspec.AbstractFileSystem, path: str, name: str, limit: int) -> bytes | None:
    """A file of the version; None where there is none. Raises _NotAnExport for one of more than `limit` bytes."""
    try:
        with files.open(f"{path}/{name}", "rb") as file:
            content: bytes = file.read(limit + 1)
    except FileNotFoundError:
        return None
    if len(content) > limit:
        raise _NotAnExport(f"{name} has more than {limit} bytes")
    return content


def _parsed(content: bytes) -> dict[str, Any]:
    """The manifest, its parts of the right types."""
    try:
        manifest = json.loads(content)
        parts = {"labels": list, "signatures": dict, "golden": list, "files": dict}
        for name, kind in parts.items():
            if not isinstance(manifest[name], kind):
                raise TypeError(f"{name} is no {kind.__name__}")
        if not all(isinstance(label, str) for label in manifest["labels"]):
            raise TypeError("a label is no text")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _unusable(error) from None
    return dict(manifest)


def _signature(described: Any) -> SignatureSpec:
    try:
        return SignatureSpec(_tensors(described["inputs"]), _tensors(described["outputs"]))
    except (KeyError, TypeError, AttributeError) as error:
        raise _unusable(error) from None


def _tensors(described: dict[str, Any]) -> dict[str, TensorInfo]:
    return {
        name: TensorInfo(str(one["dtype"]), None if one["shape"] is None else tuple(one["shape"]))
        for name, one in described.items()
    }


def _golden(files: fsspec.AbstractFileSystem, path: str, entries: list[Any], labels: int) -> Iterator[GoldenPicture]:
    if len(entries) > _MOST_PICTURES:
        raise _unusable(f"{len(entries)} golden pictures; {_MOST_PICTURES} are the most")
    left = _ALL_PICTURES_BYTES
    for entry in entries:
        try:
            name, probabilities = str(entry["file"]), tuple(float(one) for one in entry["probabilities"])
        except (KeyError, TypeError, ValueError) as error:
            raise _unusable(error) from None
        if len(probabilities) != labels or not all(map(math.isfinite, probabilities)):
            raise _unusable(f"{name} has not one probability for each of {labels} labels")
        _check_inside(files, path, name)
        content = _content(files, path, name, min(_PICTURE_BYTES, left))
        if content is None:
            raise _unusable(f"its golden picture {name} is not there")
        left -= len(content)
        yield GoldenPicture(name, content, probabilities)


def _check_inside(files: fsspec.AbstractFileSystem, path: str, name: str) -> None:
    """Raises _NotAnExport for a path that leads out of the version, by its parts or by a link."""
    parts = PurePosixPath(name).parts
    inside = bool(parts) and name[:1] != "/" and ".." not in parts and not {"\\", "\0", ":"} & set(name)
    if inside and isinstance(files, LocalFileSystem):
        inside = Path(path, name).resolve().is_relative_to(Path(path).resolve())
    if not inside:
        raise _unusable(f"the golden picture {name!r} lies outside of the version")


def _unusable(reason: object) -> _NotAnExport:
    said = f"{type(reason).__name__}: {reason}" if isinstance(reason, Exception) else reason
    return _NotAnExport(f"{_MANIFEST} cannot be used ({said})")
