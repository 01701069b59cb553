"""From the name of a pre-trained network to a folder that holds it as a SavedModel.

Modules from a URL lie where tensorflow_hub keeps them, so that each finds what the other has downloaded:
${TFHUB_CACHE_DIR:-TEMPORARY FOLDER/tfhub_modules}/SHA-1 OF THE URL. Those from Kaggle lie in kagglehub's own cache,
${KAGGLEHUB_CACHE:-~/.cache/kagglehub}.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import os
import re
import socket
import tempfile
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from vitrine_export.archives import ArchiveError, unpack
from vitrine_export.errors import RecipeError
from vitrine_export.fetching import FetchError, Unreachable, fetch, locked
from vitrine_export.kaggle import from_kaggle

SAVED_MODEL = "saved_model.pb"
LIMIT_BYTES = 8 * 2**30
_ACCEPTED = (
    "model.backbone takes keras.applications/NAME, a local folder with a saved_model.pb, an https URL of a TensorFlow "
    "Hub module such as https://tfhub.dev/google/imagenet/mobilenet_v2_130_224/feature_vector/5, or a Kaggle model: "
    "https://www.kaggle.com/models/OWNER/MODEL/tensorFlow2/VARIATION/VERSION or the same from OWNER on"
)
_KAGGLE = re.compile(r"[\w.-]+/[\w.-]+/(?P<framework>[\w.-]+)/[\w.-]+(/\d+)?", re.ASCII)
_FRAMEWORKS = {"tensorflow1", "tensorflow2", "tflite", "tfjs", "keras", "jax", "flax", "pytorch", "coral", "other"}
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


def resolve(handle: str) -> Path:
    """The folder with the saved_model.pb that `handle` names; downloaded where it is not on this computer yet.

    `handle` is a local folder, an https URL that is served by TensorFlow Hub's protocol, or a Kaggle model as a URL
    or as OWNER/MODEL/FRAMEWORK/VARIATION[/VERSION]. A module is a program, so http is taken from this computer alone.
    Raises RecipeError, which names the way out.
    """
    folder = Path(handle).expanduser()
    if "://" not in handle and folder.exists():
        return _checked(folder, handle)
    if model := _kaggle_model(handle):
        return _from_kaggle(handle, model)
    if "://" in handle:
        url = urlsplit(handle)
        if url.scheme == "https" or (url.scheme == "http" and url.hostname in _LOOPBACK):
            return _from_url(handle)
        if url.scheme == "gs":
            raise RecipeError(
                f"{handle}: gs:// is not read; public files of a bucket are at https://storage.googleapis.com/BUCKET/..."
            )
        if url.scheme == "http":
            raise RecipeError(f"{handle}: a module is a program and must come by https, not http")
        raise RecipeError(f"{handle}: cannot be downloaded; {_ACCEPTED}")
    raise RecipeError(f"{handle}: there is no such folder, and it is not a Kaggle model; {_ACCEPTED}")


def module_folder(url: str) -> Path:
    """Where tensorflow_hub looks for the module of `url`."""
    # tensorflow_hub names it by SHA-1: no secret hangs on it.
    return _hub_cache() / hashlib.sha1(url.encode(), usedforsecurity=False).hexdigest()


def _archive(url: str) -> Path:
    folder = module_folder(url)
    return folder.with_name(f"{folder.name}.tar.gz")


def _hub_cache() -> Path:
    return Path(os.environ.get("TFHUB_CACHE_DIR") or Path(tempfile.gettempdir(), "tfhub_modules"))


def _checked(folder: Path, handle: str) -> Path:
    if (folder / SAVED_MODEL).is_file():
        return folder
    try:
        found = ", ".join(sorted(entry.name for entry in folder.iterdir())[:5]) or "nothing"
    except NotADirectoryError:
        found = "a file"
    except OSError as error:
        raise RecipeError(f"{folder}: cannot be read: {error.strerror or error}") from None
    where = handle if handle == str(folder) else f"{handle}: {folder}"
    raise RecipeError(f"{where}: needs a {SAVED_MODEL}, found {found}; give the folder of a TensorFlow 2 SavedModel")


def _from_url(handle: str) -> Path:
    folder = module_folder(handle)
    _require_own_cache(folder.parent)
    if _is_there(folder):
        return _checked(folder, handle)
    archive = _archive(handle)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # tensorflow_hub's own lock file is called .lock, and is not a lock but a sign.
        with locked(folder.with_name(f"{folder.name}.vitrine-lock")):
            # Else another process has done it while this one waited.
            if not _is_there(folder):
                fetch(_compressed(handle), archive, sha256=None, size=None, limit=LIMIT_BYTES)
                unpack(archive, folder)
                archive.unlink()
                _describe(folder, handle)
    except Unreachable as error:
        raise RecipeError(f"{handle}: cannot be downloaded: {error.reason}. {_by_hand(handle)}") from None
    except FetchError as error:
        raise RecipeError(f"{handle}: cannot be downloaded: {error.reason}") from None
    except ArchiveError as error:
        raise RecipeError(f"{handle}: {error}") from None
    except OSError as error:
        raise RecipeError(f"{handle}: cannot write to {folder.parent}: {error.strerror or error}") from None
    return _checked(folder, handle)


def _is_there(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def _require_own_cache(cache: Path) -> None:
    """The default is in a folder where everyone can write: what another user has put there is not to be run."""
    with contextlib.suppress(FileNotFoundError):
        if not os.environ.get("TFHUB_CACHE_DIR") and cache.stat().st_uid not in (os.getuid(), 0):
            raise RecipeError(f"{cache}: belongs to another user; set TFHUB_CACHE_DIR to a folder of your own")


def _compressed(handle: str) -> str:
    """The address of the module as a .tar.gz, by tensorflow.org/hub/hosting."""
    url = urlsplit(handle)
    query = [*(pair for pair in parse_qsl(url.query) if pair[0] != "tf-hub-format"), ("tf-hub-format", "compressed")]
    return urlunsplit(url._replace(query=urlencode(query), fragment=""))


def _describe(folder: Path, handle: str) -> None:
    """The note that tensorflow_hub leaves beside a module for people; nothing reads it."""
    with contextlib.suppress(OSError):
        folder.with_name(f"{folder.name}.descriptor.txt").write_text(
            f"Module: {handle}\nDownload Time: {datetime.datetime.now()}\n"
            f"Downloader Hostname: {socket.gethostname()} (PID:{os.getpid()})"
        )


def _by_hand(handle: str) -> str:
    folder = module_folder(handle)
    return (
        f"Where there is a network, download {_compressed(handle)} and unpack it into the folder {folder.name} of "
        f"TFHUB_CACHE_DIR, here {folder} (or put the .tar.gz beside it as {folder.name}.tar.gz); or unpack it anywhere "
        "and give that folder in the recipe: model.backbone: path/to/folder"
    )


def _kaggle_model(handle: str) -> str | None:
    """OWNER/MODEL/FRAMEWORK/VARIATION[/VERSION] of a handle from Kaggle, None of any other."""
    url = urlsplit(handle)
    if url.scheme == "https" and url.hostname in ("kaggle.com", "www.kaggle.com") and url.path.startswith("/models/"):
        # The site has also .../frameworks/FRAMEWORK/variations/VARIATION/versions/VERSION for the same.
        model = re.sub(r"/(frameworks|variations|versions)(?=/)", "", url.path.removeprefix("/models/")).rstrip("/")
    elif "://" not in handle:
        model = handle
    else:
        return None
    fits = _KAGGLE.fullmatch(model)
    if fits is None or fits["framework"].lower() not in _FRAMEWORKS:
        if url.scheme:
            raise RecipeError(f"{handle}: the address names no framework and variation of the model; {_ACCEPTED}")
        return None
    if fits["framework"].lower() != "tensorflow2":
        raise RecipeError(
            f"{handle}: a model for {fits['framework']}; only those for tensorFlow2 are SavedModels that can be trained"
        )
    return model


def _from_kaggle(handle: str, model: str) -> Path:
    page = f"https://www.kaggle.com/models/{model}"
    # tensorflow_hub takes such URLs too, and keeps the modules as any other; so may who puts one there by hand.
    url = handle if "://" in handle else page
    if _is_there(module_folder(url)) or _archive(url).exists():
        return _from_url(url)
    if downloaded := _in_kaggle_cache(model):
        return _checked(downloaded, handle)
    try:
        return _checked(from_kaggle(page, lambda kagglehub: kagglehub.model_download(model), account=False), handle)
    except FetchError as error:
        raise RecipeError(f"{handle}: cannot be downloaded: {error.reason}. {_by_hand(url)}") from None


def _in_kaggle_cache(model: str) -> Path | None:
    """What kagglehub has downloaded before; without a version, only Kaggle knows which one is meant."""
    folder = Path(os.environ.get("KAGGLEHUB_CACHE") or "~/.cache/kagglehub").expanduser() / "models" / model
    complete = folder.with_name(f"{folder.name}.complete").exists()
    return folder if complete and model.count("/") == 4 and folder.is_dir() else None
