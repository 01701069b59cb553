"""The page's web server as in its container: nginx by start.sh, not as root, with one folder it can write."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from processes import free_port, wait_until

UI = Path(__file__).parents[2] / "ui"
_NOBODY = 65534


@dataclass(frozen=True)
class Site:
    url: str
    config: Path
    """The folder that models.json is served from."""
    log: Path


def start_command() -> list[str]:
    """start.sh, as nobody where the tests run as root."""
    if not shutil.which("nginx"):
        pytest.skip("needs nginx on the PATH (apt-get install nginx-light)")
    if os.geteuid() != 0:
        return []
    if not shutil.which("setpriv"):
        pytest.skip("needs setpriv on the PATH, to run nginx as nobody")
    return ["setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups"]


@contextlib.contextmanager
def running_site(serving: str, **environment: str) -> Iterator[Site]:
    """The page, which asks the server at `serving`, host:port."""
    as_nobody = start_command()
    # pytest's own folders are closed to others; the copies have the container's layout.
    with tempfile.TemporaryDirectory(prefix="vitrine-ui-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        shutil.copytree(UI / "site", folder / "site")
        shutil.copytree(UI / "nginx", folder / "opt")
        config, run = folder / "config", folder / "run"
        config.mkdir()
        run.mkdir()
        log = folder / "log"
        log.touch()
        if as_nobody:
            for path in (run, log):
                os.chown(path, _NOBODY, _NOBODY)
        port = free_port()
        variables = {
            **os.environ,
            "SERVING": serving,
            "LISTEN": f"127.0.0.1:{port}",
            "SITE": str(folder / "site"),
            "CONFIG_DIR": str(config),
            "RUN_DIR": str(run),
            **environment,
        }
        with log.open("ab") as output:
            process = subprocess.Popen(
                [*as_nobody, str(folder / "opt" / "start.sh")], env=variables, stdout=output, stderr=output
            )
        site = Site(f"http://127.0.0.1:{port}", config, log)
        try:
            wait_until(lambda: process.poll() is not None or _answers(site.url), f"nginx answers\n{log.read_text()}")
            assert process.poll() is None, log.read_text()
            yield site
        finally:
            process.terminate()
            process.wait()


def _answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/healthz", timeout=10).ok
    except requests.ConnectionError:
        return False
