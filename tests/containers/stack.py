"""The compose file's services, started and looked at as a user would: by make, docker and their ports."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

REPOSITORY = Path(__file__).parents[2]
TAG = "test"


@dataclass(frozen=True)
class Stack:
    environment: dict[str, str]
    folder: Path

    @property
    def models(self) -> Path:
        return self.folder / "models"

    def make(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`make ...`, with data from this stack's own folder; it may fail."""
        return self._run("make", "--no-print-directory", *arguments)

    def compose(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`docker compose ...` in the repository; it may fail."""
        return self._run("docker", "compose", *arguments)

    def docker(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self._run("docker", *arguments)

    def up(self, profile: str, *variables: str) -> str:
        """`make up`, which must come up; what it printed."""
        done = self.make("up", f"PROFILE={profile}", *variables)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def down(self) -> None:
        done = self.make("down")
        assert done.returncode == 0, done.stderr

    def container(self, service: str) -> dict[str, Any]:
        """What `docker inspect` tells of a service's container."""
        number = self.compose("--profile", "*", "ps", "--all", "--quiet", service).stdout.split()[0]
        return json.loads(self.docker("inspect", number).stdout)[0]

    def execute(self, service: str, *command: str) -> subprocess.CompletedProcess[str]:
        return self.compose("--profile", "*", "exec", "--no-TTY", service, *command)

    def get(self, port: str, path: str, **options: Any) -> requests.Response:
        """From the service published on the port of that name, such as REST."""
        return requests.get(f"http://127.0.0.1:{self.environment[port + '_PORT']}{path}", timeout=30, **options)

    def publish_again(self, version: int) -> None:
        """Version 1 of digits once more, under another number."""
        shutil.copytree(self.models / "digits" / "1", self.models / "digits" / str(version))

    def git_head(self) -> str:
        return self._run("git", "rev-parse", "HEAD").stdout.strip()

    def _run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, cwd=REPOSITORY, env=self.environment, capture_output=True, text=True)
