"""The front door: what a newcomer types, in a folder of its own, with the environment already installed."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import DEADLINE_SECONDS, free_port, wait_until

REPOSITORY = Path(__file__).parents[2]
TARGETS = (
    "demo", "data", "features", "search", "train", "export", "tensorboard", "serve", "predict", "status", "bench",
    "test", "lint", "clean", "help",
)  # fmt: skip


class Workspace:
    """A copy of what `make` needs; .venv is the one the tests run in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.grpc_port, self.rest_port = free_port(), free_port()
        shutil.copy(REPOSITORY / "Makefile", folder)
        shutil.copytree(REPOSITORY / "recipes", folder / "recipes")
        (folder / ".venv").symlink_to(sys.prefix)

    def command(self, *arguments: str) -> list[str]:
        # --old-file: the environment is as it is; a test must not reinstall it.
        ports = [f"GRPC_PORT={self.grpc_port}", f"REST_PORT={self.rest_port}"]
        return ["make", "--old-file=.venv/.installed", *ports, *arguments]

    def make(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL")}
        return subprocess.run(
            self.command(*arguments), cwd=self.folder, env=environment, capture_output=True, text=True
        )


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("workspace"))


@pytest.fixture(scope="module")
def demo(workspace: Workspace) -> subprocess.CompletedProcess[str]:
    return workspace.make("demo")


@pytest.fixture(scope="module")
def serving(workspace: Workspace, demo: subprocess.CompletedProcess[str]) -> Iterator[str]:
    """`make serve` in the background; what it said. Ctrl-C at the end, which must end it in order."""
    log = workspace.folder / "serve.log"
    with log.open("wb") as output:
        # A session of its own, so that Ctrl-C can be sent to all of it as a terminal does.
        process = subprocess.Popen(
            workspace.command("serve"), cwd=workspace.folder, stdout=output, stderr=output, start_new_session=True
        )
    try:
        wait_until(lambda: "Ctrl-C stops" in log.read_text() or process.poll() is not None, "make serve is ready")
        assert process.poll() is None, log.read_text()
        yield log.read_text()
        os.killpg(process.pid, signal.SIGINT)
        process.wait(DEADLINE_SECONDS)
        assert "stopped" in log.read_text()
        assert "Traceback" not in log.read_text()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def test_demo_goes_from_nothing_to_classifications(
    demo: subprocess.CompletedProcess[str], workspace: Workspace
) -> None:
    assert demo.returncode == 0, demo.stderr
    header, *rows = demo.stdout.splitlines()[-13:]
    assert header.lower().split() == ["picture", "true", "label", "label", "score", "transport", "milliseconds"]
    assert [row.split()[-2] for row in rows] == ["gRPC"] * 6 + ["REST"] * 6
    assert sum(row.split()[1] == row.split()[2] for row in rows) >= 10
    for said in ("writing digits", "checking pictures", "training", "evaluating", "engine: embedded"):
        assert said in demo.stderr
    assert "Traceback" not in demo.stderr
    assert (workspace.folder / "models" / "digits" / "1" / "saved_model.pb").is_file()
    assert workspace.make("status").returncode != 0


def test_digits_reach_the_accuracy_that_the_readme_states(demo, workspace: Workspace) -> None:
    metrics = json.loads((workspace.folder / "runs" / "digits" / "metrics.json").read_text())
    assert metrics["accuracy"] >= 0.975


def test_a_second_export_is_the_next_version(demo, workspace: Workspace) -> None:
    shutil.copytree(workspace.folder / "models", workspace.folder / "elsewhere")
    done = workspace.make("export", "MODELS=elsewhere")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "elsewhere/digits/2"


def test_predict_and_status_ask_the_running_server(serving: str, workspace: Workspace) -> None:
    done = workspace.make("predict", "IMAGE=data/digits/7/0007.png")
    assert done.returncode == 0, done.stderr
    assert re.search(r"0007\.png\s+\d\.\d+\s+7$", done.stdout, re.MULTILINE)
    done = workspace.make("status")
    assert done.returncode == 0, done.stderr
    assert re.search(r"1\s+AVAILABLE", done.stdout)


def test_a_picture_that_is_not_there(serving: str, workspace: Workspace) -> None:
    done = workspace.make("predict", "IMAGE=nowhere.png")
    assert done.returncode != 0
    assert "nowhere.png" in done.stderr
    assert "Traceback" not in done.stderr


def readme_block(language: str, containing: str) -> str:
    blocks = re.findall(rf"```{language}\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL)
    return next(block for block in blocks if containing in block)


def test_the_readmes_curl_line_works_as_pasted(serving: str, workspace: Workspace) -> None:
    line = readme_block("sh", "curl").replace("8501", str(workspace.rest_port))
    done = subprocess.run(["bash", "-c", line], cwd=workspace.folder, capture_output=True, text=True)
    [prediction] = json.loads(done.stdout)["predictions"]
    assert prediction["labels"][0] == "7"


def test_the_readmes_client_code_runs(serving: str, workspace: Workspace) -> None:
    code = textwrap.dedent(readme_block("python", "GrpcClient")).replace("8500", str(workspace.grpc_port))
    done = subprocess.run([sys.executable, "-c", code], cwd=workspace.folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("7 ")


def test_load_asks_over_both_transports_and_the_server_tells_its_own_times(serving: str, workspace: Workspace) -> None:
    done = workspace.make("load", "ARGS=--headless -u 2 -r 2 -t 6s --only-summary --out measured")
    assert done.returncode == 0, done.stdout + done.stderr
    assert {"gRPC     classify", "REST     classify"} <= {
        line[:17] for line in (done.stdout + done.stderr).splitlines()
    }
    server = json.loads((workspace.folder / "measured" / "result.json").read_text())["server"]
    assert server["requests"] > 0
    assert server["run_ms"]["mean"] > 0


def test_values_are_never_shell_code(serving: str, workspace: Workspace) -> None:
    folder = workspace.folder / 'daisy\'s "own" pictures'
    folder.mkdir()
    shutil.copy(workspace.folder / "data" / "digits" / "7" / "0007.png", folder / "a; echo b.png")
    done = workspace.make("predict", f"IMAGE={folder}/a; echo b.png")
    assert done.returncode == 0, done.stderr
    assert re.search(r"a; echo b\.png\s+\d\.\d+\s+7$", done.stdout, re.MULTILINE)


def test_without_a_server_predict_and_status_say_so(workspace: Workspace, digits_folder: Path) -> None:
    for arguments in (("predict", f"IMAGE={digits_folder}/7/0007.png"), ("status",)):
        done = workspace.make("GRPC_PORT=1", *arguments)
        assert done.returncode != 0
        assert "localhost:1" in done.stderr
        assert "Traceback" not in done.stderr


def test_predict_without_a_picture_says_how(workspace: Workspace) -> None:
    done = workspace.make("predict")
    assert done.returncode == 2
    assert "make predict IMAGE=some.png" in done.stderr


def test_serve_with_nothing_published_says_how(workspace: Workspace) -> None:
    done = workspace.make("serve", "MODEL=unborn")
    assert done.returncode != 0
    assert "make train export" in done.stderr


def test_training_on_a_folder_that_is_not_there(workspace: Workspace) -> None:
    done = workspace.make("train", "DATA=nowhere")
    assert done.returncode != 0
    assert "DATA: no folder nowhere" in done.stderr
    assert "Traceback" not in done.stderr


def test_help_lists_every_target(workspace: Workspace) -> None:
    done = workspace.make("help")
    assert all(f"make {target}" in done.stdout for target in TARGETS)
    assert workspace.make().stdout == done.stdout


def test_clean_keeps_models_and_pictures(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    for folder in ("runs/digits", "models/digits/1", "data/digits"):
        (tmp_path / folder).mkdir(parents=True)
    assert workspace.make("clean").returncode == 0
    assert not (tmp_path / "runs").exists()
    assert (tmp_path / "models" / "digits" / "1").is_dir()
    assert (tmp_path / "data" / "digits").is_dir()
    assert (tmp_path / ".venv").exists()
