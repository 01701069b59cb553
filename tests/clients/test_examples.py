"""The examples that are programs, run as a shell runs them, with a real server."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from client_servers import MODEL

EXAMPLES = Path(__file__).parents[2] / "examples"


def classify_folder(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, EXAMPLES / "classify_folder.py", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
    )


def ask(url: str, *arguments: object, model: str = MODEL) -> subprocess.CompletedProcess[str]:
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    return subprocess.run(
        ["sh", EXAMPLES / "ask.sh", *map(str, arguments)],
        env={**os.environ, "VITRINE_REST": url, "VITRINE_MODEL": model},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def folder(tmp_path: Path, encode: Callable[..., bytes]) -> Path:
    """Two pictures, one of them in a folder below, and a file that is none."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    (folder / "a.png").write_bytes(encode(seed=1))
    (folder / "more" / "b.JPG").write_bytes(encode("RGB", "JPEG", seed=2))
    (folder / "notes.txt").write_text("not a picture")
    return folder


def test_a_folder_becomes_a_table(server, folder: Path, tmp_path: Path):
    paths = [folder / "a.png", folder / "more" / "b.JPG"]
    done = classify_folder(folder, tmp_path / "answers.csv", "--grpc", server.grpc, "--model", MODEL)
    assert (done.returncode, done.stdout) == (0, "")
    assert "2 of 2 pictures" in done.stderr
    with server.client("grpc") as client:
        # One request each, as the example asks: the sums of a batch differ in their last digits.
        answers = [client.classify([path])[0] for path in paths]
    expected = [[str(path), answer.label, str(answer.score), ""] for path, answer in zip(paths, answers, strict=True)]
    with (tmp_path / "answers.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [["picture", "label", "score", "error"], *expected]


def test_a_broken_picture_is_a_line_with_its_error(server, folder: Path, tmp_path: Path):
    (folder / "b.png").write_bytes((folder / "a.png").read_bytes()[:100])
    done = classify_folder(folder, tmp_path / "answers.csv", "--grpc", server.grpc, "--model", MODEL)
    assert done.returncode == 1
    assert "2 classified, 1 failed" in done.stderr
    with (tmp_path / "answers.csv").open(newline="", encoding="utf-8") as file:
        errors = {Path(row["picture"]).name: row["error"] for row in csv.DictReader(file)}
    assert errors["a.png"] == errors["b.JPG"] == ""
    assert "b.png" in errors["b.png"]
    assert "cannot be decoded" in errors["b.png"]


def test_a_folder_without_pictures_is_wrong_usage(server, tmp_path: Path):
    done = classify_folder(tmp_path, tmp_path / "answers.csv", "--grpc", server.grpc)
    assert (done.returncode, "no pictures there" in done.stderr) == (2, True)
    assert not (tmp_path / "answers.csv").exists()


def test_a_folder_and_a_server_that_cannot_help(server, folder: Path, tmp_path: Path, closed_port: int):
    for wrong, reason in [
        (("--grpc", f"localhost:{closed_port}"), f"localhost:{closed_port}"),
        (("--grpc", server.grpc, "--model", "nonesuch"), "'nonesuch'"),
    ]:
        done = classify_folder(folder, tmp_path / "answers.csv", *wrong)
        assert done.returncode == 1
        assert done.stderr.startswith("classify_folder: ")
        assert reason in done.stderr
        assert "Traceback" not in done.stderr


def test_curl_predicts(server, tmp_path: Path, encode: Callable[..., bytes]):
    # Longer than an argument may be.
    picture = encode(size=(400, 400))
    assert len(picture) > 200_000
    (tmp_path / "a picture.png").write_bytes(picture)
    done = ask(server.rest, "predict", tmp_path / "a picture.png")
    assert (done.returncode, done.stderr) == (0, "")
    [answer] = json.loads(done.stdout)["predictions"]
    with server.client("rest") as client:
        [expected] = client.classify([picture])
    assert answer["labels"] == [label for label, _ in expected.top]
    assert answer["scores"] == pytest.approx([score for _, score in expected.top])


def test_curl_asks_for_status_and_metadata(server):
    versions = json.loads(ask(server.rest, "status").stdout)["model_version_status"]
    assert ("2", "AVAILABLE") in [(version["version"], version["state"]) for version in versions]
    metadata = json.loads(ask(server.rest, "metadata").stdout)["metadata"]
    assert "serving_default" in metadata["signature_def"]["signature_def"]


def test_curl_shows_the_server_s_reason(server, tmp_path: Path):
    (tmp_path / "broken.png").write_bytes(b"this is a text, not a picture")
    done = ask(server.rest, "predict", tmp_path / "broken.png")
    assert (done.returncode, bool(json.loads(done.stdout)["error"])) == (22, True)
    done = ask(server.rest, "status", model="nonesuch")
    assert (done.returncode, "nonesuch" in json.loads(done.stdout)["error"]) == (22, True)


def test_curl_without_a_server_or_a_picture(server, tmp_path: Path, closed_port: int):
    done = ask(f"http://localhost:{closed_port}", "status")
    assert (done.returncode, str(closed_port) in done.stderr) == (7, True)
    done = ask(server.rest, "predict", tmp_path / "nonesuch.png")
    assert (done.returncode, "cannot read" in done.stderr) == (2, True)


@pytest.mark.parametrize("arguments", [[], ["predict"], ["predict", "a", "b"], ["status", "a"], ["nonsense"]])
def test_curl_is_explained_to_whoever_asks_wrongly(arguments: list[str]):
    done = ask("http://localhost:1", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: ")
