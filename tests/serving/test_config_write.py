"""`vitrine-serving config write`: what it pins, what it writes, and what it refuses without writing anything."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from vitrine_serving import cli

FILES = {"models.config", "monitoring.config", "batching.config", "pinned", "probes.json", "models.json", "pinned.env"}
Write = Callable[..., int]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """digits: 1, 2, 10 complete and 11 half copied; flowers: 4; empty: no version."""
    folder = tmp_path / "models"
    for version in ("digits/1", "digits/2", "digits/10", "flowers/4"):
        (folder / version).mkdir(parents=True)
        (folder / version / "saved_model.pb").write_bytes(b"a model")
    (folder / "digits" / "11").mkdir()
    (folder / "digits" / "notes").mkdir()
    (folder / "empty").mkdir()
    (folder / ".lost+found").mkdir()
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "etc" / "vitrine"


@pytest.fixture
def write(store: Path, out: Path) -> Write:
    """Run the command; its exit code."""

    def write(*arguments: str | Path, models: Path = store) -> int:
        return run("write", "--models", models, "--out", out, *arguments)

    return write


def run(*arguments: str | Path) -> int:
    try:
        cli.main(["config", *map(str, arguments)])
    except SystemExit as stopped:
        if isinstance(stopped.code, str):
            # What the interpreter does with it.
            sys.stderr.write(stopped.code + "\n")
            return 1
        return int(stopped.code or 0)
    return 0


def test_the_newest_complete_version_is_pinned(write: Write, out: Path, capsys) -> None:
    assert write("--model", "digits") == 0
    assert capsys.readouterr().out == "digits: version 10 of /models/digits\n"
    assert {path.name for path in out.iterdir()} == FILES
    assert (out / "pinned").read_text() == "digits 10\n"
    assert (out / "pinned.env").read_text() == "MODEL=digits\nVERSION=10\n"
    assert json.loads((out / "models.json").read_text()) == {"models": ["digits"]}
    assert json.loads((out / "probes.json").read_text()) == [
        {
            "targets": ["http://vitrine:8501/v1/models/digits/versions/10"],
            "labels": {"model_name": "digits", "version": "10"},
        }
    ]


def test_versions_may_be_named_for_any_number_of_models(write: Write, out: Path, capsys) -> None:
    options = ("--base-path", "gs://bucket/store/", "--label", "live", "--probe-address", "10.0.0.7:80", "--json")
    assert write("--model", "digits=2, flowers", *options) == 0
    assert json.loads(capsys.readouterr().out) == {
        "folder": str(out),
        "models": [
            {"name": "digits", "version": 2, "base_path": "gs://bucket/store/digits", "labels": {"live": 2}},
            {"name": "flowers", "version": 4, "base_path": "gs://bucket/store/flowers", "labels": {"live": 4}},
        ],
    }
    assert (out / "pinned").read_text() == "digits 2\nflowers 4\n"
    assert [probe["targets"] for probe in json.loads((out / "probes.json").read_text())] == [
        ["http://10.0.0.7:80/v1/models/digits/versions/2"],
        ["http://10.0.0.7:80/v1/models/flowers/versions/4"],
    ]
    separately = {path.name: path.read_text() for path in out.iterdir()}
    assert write("--model", "digits=2", "--model", "flowers=4", *options) == 0
    assert separately == {path.name: path.read_text() for path in out.iterdir()}


@pytest.mark.parametrize(("version", "pinned"), [("1", 1), ("", 10)])
def test_the_version_of_one_model_may_come_by_itself(write: Write, out: Path, version: str, pinned: int) -> None:
    assert write("--model", "digits", "--version", version) == 0
    assert (out / "pinned").read_text() == f"digits {pinned}\n"


def test_nothing_of_an_earlier_write_stays(write: Write, out: Path) -> None:
    assert write("--model", "digits,flowers", "--allowed-batch-sizes", "4,8", "--num-batch-threads", "3") == 0
    for name in FILES:
        (out / f".{name}.new").write_text("left behind by a process that was killed")
    assert write("--model", "flowers") == 0
    assert {path.name for path in out.iterdir()} == FILES
    written = "".join(path.read_text() for path in out.iterdir())
    assert "digits" not in written
    assert "allowed_batch_sizes" not in written
    assert "num_batch_threads" not in written


def test_only_a_single_model_has_an_environment(write: Write, out: Path) -> None:
    """Of several there is no MODEL; what is left of the one before would be wrong."""
    assert write("--model", "digits=2") == 0
    assert (out / "pinned.env").read_text() == "MODEL=digits\nVERSION=2\n"
    assert write("--model", "digits=2,flowers") == 0
    assert {path.name for path in out.iterdir()} == FILES - {"pinned.env"}


def test_other_users_can_read_it_all(store: Path, out: Path) -> None:
    """Servers run as another user than the one who writes, whose umask may be strict."""
    command = [sys.executable, "-m", "vitrine_serving.cli", "config", "write", "--models", store, "--out", out]
    subprocess.run([*command, "--model", "digits"], check=True, umask=0o077)
    assert stat.S_IMODE(out.stat().st_mode) == 0o755
    assert {stat.S_IMODE(path.stat().st_mode) for path in out.iterdir()} == {0o644}


@pytest.mark.parametrize(
    ("arguments", "phrases"),
    [
        (("--model", "cats"), ("cats", "the store has: digits, empty, flowers")),
        (("--model", "digits=3"), ("digits", "no version 3", "complete versions there: 1, 2, 10")),
        (("--model", "digits=11"), ("version 11 has no saved_model.pb", "1, 2, 10")),
        (("--model", "empty"), ("empty", "no complete version", "make train export")),
        (("--model", "empty=1"), ("no version 1", "complete versions there: none")),
        (("--model", "digits", "--allowed-batch-sizes", "8,4"), ("allowed_batch_sizes", "increasing")),
        (
            ("--model", "digits", "--allowed-batch-sizes", "4,8", "--max-batch-size", "16"),
            ("Last entry in allowed_batch_sizes must match max_batch_size", "8", "16"),
        ),
        (("--model", "digits", "--probe-address", "http://vitrine"), ("http://vitrine", "HOST:PORT")),
    ],
)
def test_what_cannot_be_served_is_told_and_nothing_written(
    write: Write, out: Path, capsys, arguments: tuple[str, ...], phrases: tuple[str, ...]
) -> None:
    assert write("--model", "flowers") == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    capsys.readouterr()
    assert write(*arguments) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("vitrine-serving config: ")
    assert said.err.count("\n") == 1
    for phrase in phrases:
        assert phrase in said.err
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


@pytest.mark.parametrize(
    ("arguments", "phrase"),
    [
        ((), "--model"),
        (("--model", ""), "'' is not a model name"),
        (("--model", "digits,"), "'' is not a model name"),
        (("--model", "../digits"), "'../digits' is not a model name: accepted are letters"),
        (("--model", "dig its"), "'dig its' is not a model name"),
        (("--model", ".lost+found"), "is not a model name"),
        (("--model", "d" * 300), "200 characters at most"),
        (("--model", "digits=0"), "'0' is not a version: give a whole number from 1"),
        (("--model", "digits=-1"), "'-1' is not a version"),
        (("--model", "digits=two"), "'two' is not a version"),
        (("--model", "digits=9223372036854775808"), "is not a version"),
        (("--model", "digits", "--version", "latest"), "'latest' is not a version"),
        (("--model", "digits,flowers", "--version", "2"), "--version is for one model"),
        (("--model", "digits=1", "--version", "2"), "--version is for one model"),
        (("--model", "digits=1,digits=2"), "digits is named more than once"),
        (("--model", "digits", "--model", "digits"), "digits is named more than once"),
        (("--model", "digits", "--base-path", "models"), "'models' is relative"),
        (("--model", "digits", "--label", "a/b"), "'a/b' is not a label"),
        (("--model", "digits", "--max-batch-size", "0"), "'0' is not a whole number from 1"),
        (("--model", "digits", "--num-batch-threads", "5000"), "from 1 to 4096"),
        (("--model", "digits", "--allowed-batch-sizes", "4,x"), "'x' is not a whole number"),
        (("--model", "digits", "--models", "gs://bucket"), "only a local folder"),
    ],
)
def test_wrong_usage(write: Write, out: Path, capsys, arguments: tuple[str, ...], phrase: str) -> None:
    assert write(*arguments) == 2
    assert phrase in capsys.readouterr().err
    assert not out.exists()


def test_a_store_that_is_not_there_or_empty(write: Write, out: Path, tmp_path: Path, capsys) -> None:
    assert write("--model", "digits", models=tmp_path / "nowhere") == 1
    said = capsys.readouterr().err
    assert "nowhere: no such folder" in said
    assert "make train export" in said
    (tmp_path / "bare").mkdir()
    assert write("--model", "digits", models=tmp_path / "bare") == 1
    said = capsys.readouterr().err
    assert "bare is empty; train one first: `make train export`" in said
    assert not out.exists()


def test_a_folder_that_cannot_be_written(store: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "file").touch()
    arguments = ("write", "--models", store, "--model", "digits", "--out")
    assert run(*arguments, tmp_path / "file" / "config") == 1
    said = capsys.readouterr().err
    assert str(tmp_path / "file") in said
    assert "Not a directory" in said
    assert "--out" in said
    (tmp_path / "config" / "pinned").mkdir(parents=True)
    assert run(*arguments, tmp_path / "config") == 1
    assert "pinned is a folder; remove it" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "config").iterdir()] == ["pinned"]


AS_NOBODY = """
import os, sys
import vitrine_serving.cli
os.setuid(65534)
vitrine_serving.cli.main(sys.argv[1:])
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize(("closed", "phrase"), [("config", "--out"), ("models", "readable")])
def test_folders_of_somebody_else(store: Path, closed: str, phrase: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        # Not below pytest's own folder, which nobody else can enter.
        Path(place).chmod(0o755)
        models = Path(shutil.copytree(store, f"{place}/models"))
        (Path(place) / "config").mkdir(mode=0o777)
        (Path(place) / "config").chmod(0o777)
        (Path(place) / closed).chmod(0o700)
        command = [sys.executable, "-c", AS_NOBODY, "config", "write", "--models", models, "--model", "digits"]
        done = subprocess.run([*command, "--out", f"{place}/config"], capture_output=True, text=True)
        assert done.returncode == 1, done.stderr
        assert f"{place}/{closed}" in done.stderr
        assert "Permission denied" in done.stderr
        assert phrase in done.stderr
        assert "Traceback" not in done.stderr
        assert not list((Path(place) / "config").iterdir())


LIGHT = """
import sys

HEAVY = {"tensorflow", "tensorflow_serving", "keras", "httptools", "ml_dtypes", "orjson", "grpc_health"}

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HEAVY:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
import vitrine_serving.cli
vitrine_serving.cli.main(sys.argv[1:])
assert not HEAVY & {name.partition(".")[0] for name in sys.modules}
"""


def test_the_clients_packages_are_enough(store: Path, out: Path) -> None:
    """It runs in an image without TensorFlow, and without what only the embedded server needs."""
    for arguments in (
        ("write", "--models", store, "--model", "digits,flowers", "--out", out),
        ("check", out / "models.config", out / "monitoring.config", out / "batching.config"),
        ("flags",),
    ):
        done = subprocess.run([sys.executable, "-c", LIGHT, "config", *arguments], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert {path.name for path in out.iterdir()} == FILES - {"pinned.env"}
