"""One rollout at a time, and no lock that stays behind: not after a kill, and not after the machine is gone."""

from __future__ import annotations

import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

import pytest
from processes import wait_until
from target_objects import Namespace

from vitrine_serving.errors import CommandError
from vitrine_serving.rollout.kubernetes import process
from vitrine_serving.rollout.kubernetes.api import Api, Kind
from vitrine_serving.rollout.kubernetes.connection import connection
from vitrine_serving.rollout.kubernetes.lease import Lock, holder_of

NAME = "vitrine-rollout"
HOLD = f"""
import sys
from vitrine_serving.rollout.kubernetes.api import Api
from vitrine_serving.rollout.kubernetes.connection import connection
from vitrine_serving.rollout.kubernetes.lease import Lock
with Lock(Api(connection(None, sys.argv[1])), "{NAME}").held("rollout of version 7 by alice@host"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def space(cluster: dict[str, str]) -> Iterator[Namespace]:
    space = Namespace(cluster, f"vitrine-lease-{uuid.uuid4().hex[:8]}")
    space.kubectl("create", "namespace", space.name)
    yield space
    space.kubectl("delete", "namespace", space.name, "--wait=false")


@pytest.fixture
def api(space: Namespace, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    monkeypatch.setenv("KUBECONFIG", space.environment["KUBECONFIG"])
    yield Api(connection(None, space.name))
    space.kubectl("delete", "lease", NAME, "--ignore-not-found")


@pytest.fixture
def holder(space: Namespace) -> Iterator[subprocess.Popen[str]]:
    """Another command on this machine that holds the lease until it is killed or its input ends."""
    command = [sys.executable, "-c", HOLD, space.name]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=space.environment
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_command_is_refused_and_told_who_is_at_work(api: Api, holder: subprocess.Popen[str]):
    assert holder_of(api, NAME) == "rollout of version 7 by alice@host"
    since = str(datetime.now(timezone.utc).year)
    with (
        pytest.raises(CommandError, match=f"rollout of version 7 by alice@host is at work, since {since}"),
        Lock(api, NAME).held("rollback by bob"),
    ):
        pytest.fail("two at once")


def test_who_ends_gives_the_lease_back(api: Api, holder: subprocess.Popen[str]):
    holder.communicate()
    assert holder_of(api, NAME) is None
    with Lock(api, NAME).held("bob"):
        assert holder_of(api, NAME) == "bob"


def test_a_killed_command_holds_nothing_on_its_own_machine(api: Api, holder: subprocess.Popen[str]):
    holder.kill()
    holder.wait()
    with Lock(api, NAME).held("bob"):
        assert holder_of(api, NAME) == "bob"


def test_a_lease_that_is_not_renewed_any_more_is_taken_over(api: Api):
    """Of a machine that is gone: its process cannot be looked at."""
    api.create(Kind.LEASE, stale_lease())
    with Lock(api, NAME).held("bob"):
        assert holder_of(api, NAME) == "bob"


def test_a_holder_whose_clock_goes_wrong_is_not_taken_for_dead(api: Api):
    api.create(Kind.LEASE, stale_lease())
    done = threading.Event()

    def renew() -> None:
        while not done.wait(0.2):
            api.patch(Kind.LEASE, NAME, {"spec": {"renewTime": stale_lease()["spec"]["renewTime"]}})

    renewing = threading.Thread(target=renew)
    renewing.start()
    try:
        with pytest.raises(CommandError, match="alice@elsewhere is at work"), Lock(api, NAME).held("bob"):
            pytest.fail("two at once")
    finally:
        done.set()
        renewing.join()


def test_of_many_that_come_at_once_one_gets_it(api: Api):
    api.create(Kind.LEASE, {**stale_lease(), "spec": {}})
    got, refused, all_tried = [], [], threading.Barrier(5)

    def take(by: str) -> None:
        try:
            with Lock(api, NAME).held(by):
                got.append(by)
                all_tried.wait()
        except CommandError as error:
            refused.append(str(error))
            all_tried.wait()

    threads = [threading.Thread(target=take, args=(f"command {number}",)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [one] = got
    assert len(refused) == 4 and all(one in text for text in refused)


def test_nothing_more_is_changed_once_the_lease_is_lost(api: Api):
    lock = Lock(api, NAME)
    with lock.held("alice"):
        lock.check()
        lease = api.get(Kind.LEASE, NAME)
        lease["metadata"]["annotations"] = {}
        lease["spec"]["holderIdentity"] = "bob"
        api.replace(Kind.LEASE, lease)
        with pytest.raises(CommandError, match="lost to bob"):
            wait_until(lambda: lock.check(), "the loss is noticed")
    assert api.get(Kind.LEASE, NAME)["spec"]["holderIdentity"] == "bob", "what is bob's is not given back"


def test_a_process_is_told_from_one_that_has_its_number_later():
    mine = process.this_process()
    assert not process.is_dead(mine)
    place, _, started = mine.rpartition(" ")
    assert process.is_dead(f"{place} {int(started) + 1}")
    assert not process.is_dead(f"another-boot {mine.partition(' ')[2]}")
    assert not process.is_dead("")


def stale_lease() -> dict[str, dict[str, object]]:
    long_ago = (datetime.now(timezone.utc) - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    spec = {
        "holderIdentity": "alice@elsewhere",
        "leaseDurationSeconds": 15,
        "acquireTime": long_ago,
        "renewTime": long_ago,
    }
    return {"metadata": {"name": NAME}, "spec": spec}
