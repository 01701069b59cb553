"""The client installs alone: nothing of TensorFlow comes with it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

CLIENTS = Path(__file__).parents[2] / "clients"


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a fresh environment with the client only, built from a copy: setuptools builds in the tree."""
    folder = tmp_path_factory.mktemp("install")
    copy = shutil.copytree(
        CLIENTS, folder / "clients", ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__")
    )
    venv.create(folder / "env", with_pip=True)
    programs = folder / "env" / ("Scripts" if sys.platform == "win32" else "bin")
    python = programs / "python"
    reached = subprocess.run(
        [python, "-m", "pip", "download", "--no-deps", "--dest", folder / "probe", "requests>=2.31"],
        capture_output=True,
        text=True,
    )
    if reached.returncode:
        pytest.skip(f"pip cannot reach a package registry: {reached.stderr.strip().splitlines()[-1]}")
    subprocess.run([python, "-m", "pip", "install", "--quiet", copy], check=True, timeout=600)
    return programs


def test_the_command_works(bare: Path):
    done = subprocess.run([bare / "vitrine-client", "--help"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "examples:" in done.stdout


def test_the_readme_works_as_far_as_it_goes_without_a_server(bare: Path):
    code = (
        "from vitrine_client import GrpcClient, Unavailable\n"
        "with GrpcClient('localhost:1', model='flowers') as client:\n"
        "    try: client.classify([b'picture'])\n"
        "    except Unavailable: print('unavailable')"
    )
    done = subprocess.run([bare / "python", "-c", code], capture_output=True, text=True, cwd=bare)
    assert (done.stdout, done.stderr) == ("unavailable\n", "")


def test_no_tensorflow_is_installed(bare: Path):
    listed = subprocess.run(
        [bare / "python", "-m", "pip", "list", "--format=freeze"], capture_output=True, text=True, check=True
    )
    names = {line.partition("==")[0].lower() for line in listed.stdout.splitlines()}
    assert {"vitrine-client", "grpcio", "numpy", "pillow", "protobuf", "requests"} <= names
    assert not [name for name in names if name.startswith(("tensor", "keras", "tf"))]
