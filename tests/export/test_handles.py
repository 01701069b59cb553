"""The name of a pre-trained network becomes a folder with a SavedModel, or a message with the way out.

The servers are stand-ins for TensorFlow Hub and Kaggle, which tests do not reach.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import tensorflow as tf
from file_server import FileServer, file_server, kaggle_server
from processes import free_port, wait_until

from vitrine_export.errors import RecipeError
from vitrine_export.models.handles import module_folder, resolve

TFHUB = "https://tfhub.dev/google/imagenet/mobilenet_v2_130_224/feature_vector/5"
KAGGLE = "google/mobilenet-v2/tensorFlow2/130-224-feature-vector/2"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Caches of the test's own."""
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "hub"))
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "kagglehub"))
    return tmp_path / "hub"


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SavedModel that doubles numbers."""

    class Doubling(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.factor = tf.Variable(2.0)

        @tf.function(input_signature=[tf.TensorSpec([], tf.float32)])
        def __call__(self, x: tf.Tensor) -> tf.Tensor:
            return x * self.factor

    folder = tmp_path_factory.mktemp("module") / "saved"
    tf.saved_model.save(Doubling(), str(folder))
    return folder


@pytest.fixture(scope="module")
def archive(saved_model: Path) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        tar.add(saved_model, ".")
    return file.getvalue()


@pytest.fixture
def server() -> Iterator[FileServer]:
    with file_server() as server:
        yield server


def doubles(folder: Path) -> bool:
    return float(tf.saved_model.load(str(folder))(3.0)) == 6.0


def sha1(url: str) -> str:
    return hashlib.sha1(url.encode(), usedforsecurity=False).hexdigest()


def put(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"")
    return folder


def test_a_local_folder_is_taken_as_it_is(saved_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve(str(saved_model)) == saved_model
    monkeypatch.chdir(saved_model.parent)
    assert resolve("saved") == Path("saved")
    monkeypatch.setenv("HOME", str(saved_model.parent))
    assert resolve("~/saved") == saved_model


def test_a_folder_without_a_saved_model_is_told_with_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "keras_metadata.pb").write_bytes(b"")
    (tmp_path / "variables").mkdir()
    with pytest.raises(RecipeError, match=r"needs a saved_model\.pb, found keras_metadata\.pb, variables"):
        resolve(str(tmp_path))
    with pytest.raises(RecipeError, match="found nothing"):
        resolve(str(tmp_path / "variables"))
    with pytest.raises(RecipeError, match="found a file"):
        resolve(str(tmp_path / "keras_metadata.pb"))


def test_a_url_is_downloaded_by_the_hub_protocol_into_its_cache(
    server: FileServer, cache: Path, archive: bytes
) -> None:
    # As tfhub.dev does: the address redirects to where the file is.
    server.redirects["/module/1?tf-hub-format=compressed"] = "/storage/module.tar.gz"
    server.files["/storage/module.tar.gz"] = archive
    handle = f"{server.url}/module/1"
    folder = resolve(handle)
    assert folder == cache / sha1(handle)
    assert doubles(folder)
    assert f"Module: {handle}\n" in (cache / f"{sha1(handle)}.descriptor.txt").read_text()
    assert sorted(path.name for path in cache.iterdir()) == [folder.name, f"{folder.name}.descriptor.txt"]
    assert resolve(handle) == folder
    assert len(server.requests) == 2


def test_two_that_want_the_same_module_at_once_both_get_it(server: FileServer, cache: Path, archive: bytes) -> None:
    server.files["/module/1?tf-hub-format=compressed"] = archive
    server.hold_after = 100
    # Locks on files tell two threads apart as they do two processes, which would have to import Keras first.
    with ThreadPoolExecutor() as pool:
        folders = [pool.submit(resolve, f"{server.url}/module/1") for _ in range(2)]
        wait_until(lambda: server.requests, "the first one's request")
        server.release.set()
        assert all((folder.result() / "variables/variables.index").exists() for folder in folders)
    assert len(server.requests) == 1
    assert len(list(cache.iterdir())) == 2


def test_a_url_that_asks_for_the_archive_itself_is_not_asked_twice(server: FileServer, archive: bytes) -> None:
    server.files["/module/1?a=b&tf-hub-format=compressed"] = archive
    handle = f"{server.url}/module/1?tf-hub-format=compressed&a=b"
    assert resolve(handle).name == sha1(handle)


@pytest.mark.parametrize("handle", [TFHUB, f"https://www.kaggle.com/models/{KAGGLE}", KAGGLE])
def test_a_module_in_the_cache_needs_no_network(cache: Path, handle: str) -> None:
    url = handle if "://" in handle else f"https://www.kaggle.com/models/{handle}"
    folder = put(cache / sha1(url))
    assert resolve(handle) == folder


def test_offline_the_message_names_the_cache_folder_and_there_it_is_used(cache: Path, archive: bytes) -> None:
    handle = f"http://127.0.0.1:{free_port()}/module/1"
    with pytest.raises(RecipeError) as error:
        resolve(handle)
    message = str(error.value)
    assert message.startswith(f"{handle}: cannot be downloaded: connection refused.")
    assert f"{handle}?tf-hub-format=compressed" in message
    assert f"the folder {sha1(handle)} of TFHUB_CACHE_DIR, here {cache / sha1(handle)} " in message
    assert "model.backbone: path/to/folder" in message

    (cache / f"{sha1(handle)}.tar.gz").write_bytes(archive)
    assert doubles(resolve(handle))


def test_what_was_put_there_wrongly_is_told(cache: Path) -> None:
    put(cache / sha1(TFHUB) / "module")
    with pytest.raises(RecipeError, match=r"feature_vector/5: .*: needs a saved_model\.pb, found module"):
        resolve(TFHUB)


def test_a_page_in_place_of_a_module_is_told_and_not_kept(server: FileServer, cache: Path) -> None:
    server.files["/module/1?tf-hub-format=compressed"] = b"<html>"
    server.content_type = "text/html"
    with pytest.raises(RecipeError, match="a web page, not a file"):
        resolve(f"{server.url}/module/1")
    assert list(cache.iterdir()) == []


def test_the_default_cache_is_that_of_tensorflow_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TFHUB_CACHE_DIR")
    assert module_folder(TFHUB) == Path(tempfile.gettempdir(), "tfhub_modules", sha1(TFHUB))


@pytest.mark.parametrize(
    ("handle", "text"),
    [
        ("no/such/folder", "no such folder, and it is not a Kaggle model; model.backbone takes"),
        ("a/b/c/d", "no such folder"),
        ("gs://bucket/module", "gs:// is not read; .* https://storage.googleapis.com/BUCKET"),
        ("http://tfhub.dev/google/module/1", "must come by https"),
        ("ftp://example.invalid/module", "cannot be downloaded; model.backbone takes"),
        ("https://www.kaggle.com/models/google/mobilenet-v2", "names no framework and variation"),
        ("google/mobilenet-v2/tfLite/1-0-224", "a model for tfLite; only those for tensorFlow2"),
        ("", "needs a saved_model.pb"),
    ],
)
def test_what_is_no_handle_is_told(handle: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError, match=text):
        resolve(handle)


@pytest.fixture
def kaggle(saved_model: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """A stand-in for Kaggle's servers, with `saved_model` as every version of every model."""
    names = [path.relative_to(saved_model).as_posix() for path in saved_model.rglob("*") if path.is_file()]
    listing = {"files": [{"name": name} for name in names], "nextPageToken": ""}
    with kaggle_server(monkeypatch) as server:
        server.posts["GetModelInstance"] = lambda _: ("application/json", json.dumps({"versionNumber": 2}).encode())
        server.posts["ListModelInstanceVersionFiles"] = lambda _: ("application/json", json.dumps(listing).encode())
        server.posts["DownloadModelInstanceVersion"] = lambda asked: (
            "application/octet-stream",
            (saved_model / asked["path"]).read_bytes(),
        )
        yield server


@pytest.mark.parametrize(
    "handle",
    [
        KAGGLE,
        KAGGLE.replace("tensorFlow2", "TensorFlow2"),
        KAGGLE.removesuffix("/2"),
        f"https://www.kaggle.com/models/{KAGGLE}?tfhub-redirect=true",
        "https://kaggle.com/models/google/mobilenet-v2/frameworks/TensorFlow2/variations/130-224/versions/1",
    ],
)
def test_a_kaggle_model_is_downloaded_into_the_cache_of_kagglehub(
    kaggle: FileServer, handle: str, tmp_path: Path, capsys
) -> None:
    folder = resolve(handle)
    assert folder.is_relative_to(tmp_path / "kagglehub/models/google/mobilenet-v2")
    assert doubles(folder)
    assert capsys.readouterr().out == ""


def test_a_downloaded_kaggle_model_needs_no_network(kaggle: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = resolve(KAGGLE)
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    assert resolve(KAGGLE) == folder
    assert resolve(f"https://www.kaggle.com/models/{KAGGLE}") == folder


def test_a_kaggle_model_that_is_refused_is_told(kaggle: FileServer) -> None:
    kaggle.posts.clear()
    with pytest.raises(RecipeError, match=f"{re.escape(KAGGLE)}: cannot be downloaded: 403 Client Error"):
        resolve(KAGGLE)


@pytest.mark.parametrize("handle", [KAGGLE, f"https://www.kaggle.com/models/{KAGGLE}"])
def test_offline_a_kaggle_model_is_told_with_the_way_out(
    kaggle: FileServer, cache: Path, handle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(RecipeError) as error:
        resolve(handle)
    folder = cache / sha1(f"https://www.kaggle.com/models/{KAGGLE}")
    for text in (f"{handle}: cannot be downloaded: ", "TFHUB_CACHE_DIR", str(folder), "model.backbone: path/to/folder"):
        assert text in str(error.value)
    put(folder)
    assert resolve(handle) == folder
