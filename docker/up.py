#!/usr/bin/env python3
"""`make up`: starts profiles of docker-compose.yml in the background, and says where they answer, or why not.

    PROFILE="cpu monitoring" MODEL=digits docker/up.py

Needs Python's standard library and docker, nothing of ours. Settings come from the environment, as compose's do.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

REPOSITORY = Path(__file__).resolve().parents[1]
SERVERS = {"gpu": "serving", "cpu": "serving-cpu", "embedded": "serving-embedded"}
TRAINING = ("train", "train-gpu")
OTHERS = ("monitoring", "load")
# Of docker-compose.yml, unless VITRINE_USER says another.
CONTAINER_USER = "10001:10001"
# What is told of a profile's services once they are up: title, service, port inside.
PAGES = {
    "monitoring": [("dashboard", "grafana", 3000), ("Prometheus", "prometheus", 9090)],
    "load": [("load", "load", 8089)],
}


# The first whose `ps --format json` prints a line for each container.
LEAST_COMPOSE = (2, 21)


def main() -> None:
    architecture, cpus = engine()
    # TensorFlow Serving's images are for amd64 only.
    usual = "cpu" if architecture == "x86_64" else "embedded"
    profiles = os.environ.get("PROFILE", "").split() or [usual]
    known = [*SERVERS, *OTHERS, *TRAINING]
    for profile in profiles:
        if profile not in known:
            fail(f"PROFILE={profile} is unknown; there are {', '.join(known)}", 2)
    chosen = [profile for profile in profiles if profile in SERVERS]
    if len(chosen) > 1:
        fail(f"PROFILE: only one of {' '.join(chosen)} at a time; they are the same service on the same ports", 2)
    if chosen and chosen != ["embedded"] and architecture != "x86_64":
        fail(f"PROFILE={chosen[0]}: TensorFlow Serving has no image for {architecture}; use PROFILE=embedded", 2)
    prepare_environment(cpus)
    for profile in profiles:
        if profile in TRAINING:
            train(profile)
    others = [profile for profile in profiles if profile in OTHERS]
    if chosen or others:
        serve(chosen, others, usual)


def engine() -> tuple[str, int]:
    """The Docker engine's architecture, such as x86_64, and CPUs. Ends the process without engine or compose."""
    try:
        told = subprocess.run(["docker", "compose", "version", "--short"], capture_output=True, text=True)
    except FileNotFoundError:
        fail("no docker on PATH; install Docker, or use `make serve`, which needs none")
    if told.returncode:
        fail("this docker has no `docker compose`; install its compose plugin")
    version = re.match(r"v?(\d+)\.(\d+)", told.stdout)
    if version and tuple(map(int, version.groups())) < LEAST_COMPOSE:
        fail(f"docker compose {told.stdout.strip()} is too old; install 2.21 or newer")
    told = subprocess.run(["docker", "info", "--format", "{{.Architecture}} {{.NCPU}}"], capture_output=True, text=True)
    architecture, _, cpus = told.stdout.strip().partition(" ")
    if told.returncode or not cpus.isdecimal() or cpus == "0":
        fail("the Docker engine does not answer; is it running, and may you use it (docker info)?")
    return architecture, int(cpus)


def prepare_environment(cpus: int) -> None:
    """What make and people say, as compose wants it, on an engine of that many CPUs."""
    environment = os.environ
    # make exports its variables even where they are empty.
    for name in ("VERSION", "MODEL", "RECIPE", "GRPC_PORT", "REST_PORT"):
        if not environment.get(name):
            environment.pop(name, None)
    environment["PICTURES_GIVEN"] = environment.get("DATA", "")
    # A bare name would be a volume's.
    environment["MODELS"] = str(Path(environment.get("MODELS") or REPOSITORY / "models").resolve())
    environment["DATA"] = str(Path(environment.get("DATA") or REPOSITORY / "data").resolve())
    # What training writes belongs to whoever asked for it; root inside a container is nobody's wish.
    if not environment.get("VITRINE_USER") and os.getuid() != 0:
        environment["VITRINE_USER"] = f"{os.getuid()}:{os.getgid()}"
    for name in ("SERVING_CPUS", "TRAIN_CPUS"):
        given = environment.get(name)
        if given and not (given.isdecimal() and 1 <= int(given) <= cpus):
            fail(f"{name}={given}: give a whole number from 1 to {cpus}, the CPUs of the Docker engine", 2)
        # Less than docker-compose.yml takes when it is not told.
        if not given and cpus < 4:
            environment[name] = str(cpus)
    os.chdir(REPOSITORY)


def train(profile: str) -> None:
    """Train, export, bless and publish the recipe; each step ends the process where it fails."""
    provide_folder("MODELS")
    if not os.environ["PICTURES_GIVEN"]:
        provide_folder("DATA")
    if shutil.which("git"):
        head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True)
        os.environ["GIT_COMMIT"] = head.stdout.strip()
    path = Path(os.environ.get("RECIPE", "recipes/digits.yaml")).resolve()
    if path.parent != REPOSITORY / "recipes":
        fail(f"RECIPE={path}: put it into {REPOSITORY / 'recipes'}, which is what the container sees", 2)
    recipe = ["--recipe", f"recipes/{path.name}"]
    if model := os.environ.get("MODEL"):
        recipe += ["--name", model]
    changes = ["--data", "data"] if os.environ["PICTURES_GIVEN"] else []
    if values := os.environ.get("SET", "").split():
        changes += ["--set", *values]
    steps = [["train", *recipe, *changes], *([step, *recipe] for step in ("export", "bless", "publish"))]
    must("--profile", profile, "build", profile)
    for step in steps:
        must("run", "--rm", profile, *step)
    if profile == "train":
        must("--profile", profile, "up", "--detach", "--wait", "tensorboard")
        say("curves", f"http://{address(['--profile', profile], 'tensorboard', 6006)}")


def provide_folder(name: str) -> None:
    """The folder that variable `name` says, made where it is missing; one that the container can write to."""
    folder = Path(os.environ[name])
    made = not folder.is_dir()
    folder.mkdir(parents=True, exist_ok=True)
    if os.getuid() != 0:
        return
    user, _, group = (os.environ.get("VITRINE_USER") or CONTAINER_USER).partition(":")
    if not (user.isdecimal() and (group or "0").isdecimal()):
        fail(f"VITRINE_USER={os.environ['VITRINE_USER']}: give numbers, such as {CONTAINER_USER}", 2)
    if made:
        os.chown(folder, int(user), int(group or -1))
    told = folder.stat()
    if told.st_uid != int(user) and not told.st_mode & stat.S_IWOTH:
        fail(
            f"{name}: {folder} belongs to user {told.st_uid} and is not for user {user}, as whom containers run; "
            f"`chown {user} {folder}`, or say VITRINE_USER={told.st_uid}:{told.st_gid} if that is not root"
        )


def serve(chosen: list[str], others: list[str], usual: str) -> None:
    """Start the server, or leave the one that is up, and what goes with it; wait until all is healthy."""
    running = compose("--profile", "*", "ps", "--services", "--status", "running", quiet=True).stdout.split()
    for profile, service in SERVERS.items():
        if service in running:
            if chosen not in ([], [profile]):
                fail(f"{service} is up on these ports; `make down` first")
            chosen = [profile]
    if not chosen:
        wanted = " ".join([usual, *others])
        fail(f'PROFILE={" ".join(others)}: no server is up; name one too: PROFILE="{wanted}"', 2)
    if not Path(os.environ["MODELS"]).is_dir():
        fail(
            f"{os.environ['MODELS']}: no such folder; `make train export`, `make up PROFILE=train`, "
            "or name another: MODELS=..."
        )
    active = [word for profile in [*chosen, *others] for word in ("--profile", profile)]
    server = SERVERS[chosen[0]]

    def pinned() -> str:
        return compose(*active, "exec", "--no-TTY", server, "cat", "/etc/vitrine/pinned", quiet=True).stdout

    # Before anything else is started: a model that is not in the store, or a version that is not.
    before = pinned()
    if compose(*active, "run", "--rm", "--no-TTY", "config").returncode:
        fail("nothing was started; the reason is above")
    if before and before != pinned():
        say_aside(f"the server is started anew: it has {in_line(before)}, wanted is {in_line(pinned())}")
        must(*active, "stop", server)
    wait = os.environ.get("WAIT_SECONDS", "600")
    if compose(*active, "up", "--detach", "--wait", "--wait-timeout", wait).returncode:
        show_reasons(active)
        fail("not everything came up; the reason is above. `make logs` shows more, `make down` clears away")
    say("gRPC", address(active, server, 8500))
    say("REST", f"http://{address(active, server, 8501)}/v1/models")
    for title, service, port in [("web page", "ui", 8080), *(page for other in others for page in PAGES[other])]:
        say(title, f"http://{address(active, service, port)}")


def in_line(pinned: str) -> str:
    return ", ".join(pinned.splitlines())


def show_reasons(active: list[str]) -> None:
    """The ends of the logs of what has ended, or is not healthy."""
    listed = compose(*active, "ps", "--all", "--format", "json", quiet=True).stdout
    for container in map(json.loads, listed.splitlines()):
        fine = container["State"] == "running" and container["Health"] in ("", "healthy")
        if not fine and (container["State"], container["ExitCode"]) != ("exited", 0):
            say_aside("")
            compose(*active, "logs", "--no-log-prefix", "--tail", "20", container["Service"])


def address(active: list[str], service: str, port: int) -> str:
    return compose(*active, "port", service, str(port), quiet=True).stdout.strip()


def must(*arguments: str) -> None:
    if code := compose(*arguments).returncode:
        fail(f"`docker compose {' '.join(arguments[:4])} ...` failed with exit code {code}; the reason is above")


def compose(*arguments: str, quiet: bool = False) -> subprocess.CompletedProcess[str]:
    """`docker compose ...`; what it prints is returned if `quiet`, else it goes to our standard error."""
    output = subprocess.PIPE if quiet else sys.stderr
    errors = subprocess.DEVNULL if quiet else None
    return subprocess.run(["docker", "compose", *arguments], stdout=output, stderr=errors, text=True)


def say(title: str, where: str) -> None:
    sys.stdout.write(f"{title:<12}{where}\n")


def say_aside(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def fail(reason: str, code: int = 1) -> NoReturn:
    sys.stderr.write(f"make up: {reason}\n")
    sys.exit(code)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        fail("interrupted; what was started stays, `make down` clears away", 130)
