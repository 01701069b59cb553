"""A fleet in a real cluster, as its operators see it, and the load on it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
from processes import wait_until

# Of 25 that are sent: what is left where the cluster has hardly a CPU to spare.
LEAST_RATE = 20.0
_COMMAND = Path(sys.executable).with_name("vitrine-serving")
_LOAD = "/pods/load:9000/proxy/"
_T = TypeVar("_T")


@dataclass(frozen=True)
class Traffic:
    """What the load has seen since it began; `answered_in` is by the second of the load's own clock, `now`."""

    sent: int
    answered: int
    failed: int
    wrong: int
    worst_seconds: float
    now: float
    answered_in: Mapping[int, int]
    kinds: Mapping[str, Mapping[str, float]]
    failures: tuple[str, ...]


@dataclass
class Counted:
    """Traffic between two moments; complete once the `with` of `without_failures` is over.

    Attributes:
        least_per_second: the fewest answers within one whole second; 0 where clients had to wait.
        worst_seconds: of any answer so far.
        failures: texts of failures, the first ones of the whole load.
    """

    requests: int = 0
    failed: int = 0
    wrong: int = 0
    seconds: float = 0.0
    least_per_second: int = 0
    worst_seconds: float = 0.0
    kinds: dict[str, int] = field(default_factory=dict)
    failures: tuple[str, ...] = ()

    @property
    def rate(self) -> float:
        return self.requests / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class StartedRollout:
    """A command at work; `said` grows by the lines of its stderr."""

    process: subprocess.Popen[str]
    said: list[str]
    reader: threading.Thread

    def wait_for_phase(self, phase: str) -> None:
        """Wait for the line `phase: PHASE`; fails where the command ends without it."""

        def is_there() -> bool:
            ended = self.process.poll() is not None and not self.reader.is_alive()
            if any(f"phase: {phase}" in line for line in list(self.said)):
                return True
            if ended:
                pytest.fail(f"ended with code {self.process.returncode} before phase {phase}:\n{''.join(self.said)}")
            return False

        wait_until(is_there, f"phase {phase}; said:\n{''.join(self.said)}")

    def wait(self, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """Wait for its end."""
        code = self.process.wait(timeout)
        self.reader.join()
        assert self.process.stdout and self.process.stderr
        stdout = self.process.stdout.read()
        self.process.stdout.close()
        self.process.stderr.close()
        return subprocess.CompletedProcess(self.process.args, code, stdout, "".join(self.said))

    def kill(self) -> None:
        """End it without a chance to clean up."""
        self.process.kill()
        self.wait()


@dataclass(frozen=True)
class Fleet:
    """Deployments and Services named `name` in `namespace`, the store they serve, and a pod `load` that asks them."""

    environment: Mapping[str, str]
    namespace: str
    store: Path
    name: str = "vitrine"

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Stdout of kubectl in the fleet's namespace; fails with its stderr."""
        return kubectl(self.environment, "--namespace", self.namespace, *arguments, stdin=stdin)

    def json(self, *arguments: str) -> Any:
        return json.loads(self.kubectl(*arguments, "--output=json"))

    def rollout(self, *arguments: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """Run `vitrine-serving ARGUMENTS` on this fleet: rollout("rollout", "2", "--judge-seconds=8")."""
        command = self._command(arguments)
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=timeout)

    def start_rollout(self, *arguments: str) -> StartedRollout:
        """The same in the background."""
        process = subprocess.Popen(
            self._command(arguments), env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stderr
        said: list[str] = []
        reader = threading.Thread(target=said.extend, args=[process.stderr], daemon=True)
        reader.start()
        return StartedRollout(process, said, reader)

    def _command(self, arguments: tuple[str, ...]) -> list[str]:
        return [str(_COMMAND), *arguments, "--namespace", self.namespace, "--models", str(self.store)]

    def pods(self, track: str | None = None, ending: bool = False) -> list[dict[str, Any]]:
        """Pods of a track, or of both, that stay, or those that are being deleted; oldest first, no evicted ones."""
        of_track = f",vitrine.dev/track={track}" if track else ""
        found = self.json("get", "pods", f"--selector=app.kubernetes.io/name={self.name}{of_track}")["items"]
        alive = [pod for pod in found if pod["status"]["phase"] != "Failed"]
        wanted = [pod for pod in alive if ("deletionTimestamp" in pod["metadata"]) == ending]
        return sorted(wanted, key=lambda pod: pod["metadata"]["creationTimestamp"])

    def ready_pods(self, track: str | None = None) -> list[str]:
        """Names of the pods that are ready."""
        return [pod["metadata"]["name"] for pod in self.pods(track) if is_ready(pod)]

    def at_rest(self, track: str, count: int) -> bool:
        """Whether a track has `count` pods, all ready, and the server in every pod that is deleted has ended."""
        staying = self.pods(track)
        return len(staying) == count and all(map(is_ready, staying)) and not any(map(is_ready, self.pods(track, True)))

    def versions(self, track: str) -> list[str]:
        """The version that each ready pod of a track is pinned to."""
        return [pod["metadata"]["labels"]["vitrine.dev/version"] for pod in self.pods(track) if is_ready(pod)]

    def kill_server(self, pod: str) -> None:
        """SIGKILL where the containers' engine is at hand; else two SIGTERM, the second of which ends it at once."""
        container = self.json("get", "pod", pod)["status"]["containerStatuses"][0]["containerID"]
        engine, _, number = container.partition("://")
        if engine == "docker" and "DOCKER_HOST" in self.environment:
            killed = subprocess.run(["docker", "kill", number], env=self.environment, capture_output=True)
            if killed.returncode == 0:
                return
        twice = "import os, signal, time; os.kill(1, signal.SIGTERM); time.sleep(0.1); os.kill(1, signal.SIGTERM)"
        self.kubectl("exec", pod, "--container=serving", "--", "python", "-c", twice)

    def restarts(self, pod: str) -> int:
        return int(self.json("get", "pod", pod)["status"]["containerStatuses"][0]["restartCount"])

    def wait_for(self, condition: Callable[[], _T], what: str, deadline_seconds: float = 180) -> _T:
        """Poll until `condition` is truthy; where it never is, the failure shows the pods."""
        try:
            return wait_until(condition, what, deadline_seconds)
        except pytest.fail.Exception as failure:
            pytest.fail(f"{failure}\n{self.kubectl('get', 'pods,deployments,events', '--output=wide')}")

    def traffic(self) -> Traffic:
        """What the load has seen so far."""
        seen = json.loads(self.kubectl("get", "--raw", f"/api/v1/namespaces/{self.namespace}{_LOAD}"))
        kinds = seen["kinds"]

        def total(count: str) -> int:
            return sum(of[count] for of in kinds.values())

        return Traffic(
            total("sent"),
            total("answered"),
            total("failed"),
            total("wrong"),
            max(of["worst_seconds"] for of in kinds.values()),
            seen["now"],
            {int(second): count for second, count in seen["answered_in"].items()},
            kinds,
            tuple(seen["failures"]),
        )

    def settled_traffic(self) -> Traffic:
        """What the load has seen once all that it has sent by now is answered or failed."""
        sent = self.traffic().sent

        def settled() -> list[Traffic]:
            traffic = self.traffic()
            return [traffic] if traffic.answered + traffic.failed >= sent else []

        return wait_until(settled, "all requests answered or failed")[0]

    @contextmanager
    def without_failures(self, what: str, wrong_labels: bool = False) -> Iterator[Counted]:
        """Count the requests meanwhile and insist that none fails or, unless `wrong_labels`, has a wrong label."""
        counted = Counted()
        before = self.settled_traffic()
        began = time.monotonic()
        try:
            yield counted
        finally:
            after = self.settled_traffic()
            _count(counted, before, after)
            took = f"{time.monotonic() - began:.0f} s"
            print(  # noqa: T201, what `make test-k8s ARGS=-s` is for
                f"\n{what}: {counted.requests} requests in {took}, {counted.failed} failed, {counted.wrong} wrong, "
                f"least {counted.least_per_second}/s, worst answer so far {counted.worst_seconds:.2f} s"
            )
        assert counted.failed == 0, f"{what}: {counted}"
        assert wrong_labels or counted.wrong == 0, f"{what}: {counted}"
        assert counted.rate >= LEAST_RATE, f"{what}: {counted}"


def kubectl(environment: Mapping[str, str], *arguments: str, stdin: str | None = None) -> str:
    """Stdout of kubectl; fails with its stderr."""
    done = subprocess.run(
        ["kubectl", *arguments], env=environment, input=stdin, capture_output=True, text=True, timeout=300
    )
    if done.returncode:
        pytest.fail(f"kubectl {' '.join(arguments)}: {done.stderr}")
    return done.stdout


def is_ready(pod: Mapping[str, Any]) -> bool:
    conditions = pod["status"].get("conditions", [])
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def _count(counted: Counted, before: Traffic, after: Traffic) -> None:
    whole = range(int(before.now) + 1, int(after.now))
    counted.requests = after.answered + after.failed - before.answered - before.failed
    counted.failed = after.failed - before.failed
    counted.wrong = after.wrong - before.wrong
    counted.seconds = after.now - before.now
    counted.least_per_second = min((after.answered_in.get(second, 0) for second in whole), default=0)
    counted.worst_seconds = after.worst_seconds
    counted.kinds = {kind: int(of["answered"] - before.kinds[kind]["answered"]) for kind, of in after.kinds.items()}
    counted.failures = after.failures
