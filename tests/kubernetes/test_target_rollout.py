"""A rollout's single steps on a real cluster: two stand-in servers, their Services, and what people do to them."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from processes import wait_until
from target_objects import CRASHING, ERROR, GOOD, NEXT, UNLOADABLE, Namespace, objects

from vitrine_serving.errors import CommandError
from vitrine_serving.rollout.kubernetes import health
from vitrine_serving.rollout.kubernetes.target import KubernetesTarget, connect
from vitrine_serving.rollout.state import Phase, RolloutState, now
from vitrine_serving.rollout.target import Health, Track

TRACK = "vitrine.dev/track"
ROLLOUT = Path(__file__).parents[2] / "k8s" / "components" / "rollout"


@pytest.fixture(scope="module")
def space(cluster: dict[str, str]) -> Iterator[Namespace]:
    """A namespace with two servers of version 1, ready, and an account that may roll out and nothing else."""
    space = Namespace(cluster, f"vitrine-target-{uuid.uuid4().hex[:8]}")
    space.kubectl("create", "namespace", space.name)
    wait_until(lambda: space.names("serviceaccount"), "an account, without which no pod is made")
    space.apply(objects(replicas=2))
    for name in ("serviceaccount", "role", "role-remote", "rolebinding"):
        space.kubectl("apply", f"--filename={ROLLOUT / name}.yaml")
    remote = ("--role=vitrine-rollout-remote", f"--serviceaccount={space.name}:vitrine-rollout")
    space.kubectl("create", "rolebinding", "remote", *remote)
    space.kubectl("rollout", "status", "deployment/vitrine-stable", "--timeout=120s")
    yield space
    space.kubectl("delete", "namespace", space.name, "--wait=false")


@pytest.fixture
def target(space: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubernetesTarget]:
    """The target as a command has it; afterwards version 1 is stable and there is no canary."""
    monkeypatch.setenv("KUBECONFIG", str(space.kubeconfig_of("vitrine-rollout", tmp_path)))
    target = connect(None, space.name)
    yield target
    with target.held("the test's end"):
        target.begin_promotion(GOOD, None)
        target.end_canary()
        settle(lambda: target.promotion_health(GOOD))
        settle(target.canary_ended)


def settle(health: Callable[[], Health]) -> Health:
    """Until it is ready or has failed."""
    return wait_until(lambda: ((seen := health()).ready and seen) or (seen.failed and seen), "ready or failed")


def healthy(health: Callable[[], Health]) -> Health:
    seen = settle(health)
    assert seen.ready, seen.told
    return seen


def test_a_version_goes_from_canary_to_stable_and_back_again(space: Namespace, target: KubernetesTarget):
    spec_before = {name: space.get("service", name)["spec"] for name in ("vitrine", "vitrine-headless")}
    with target.held("a test"):
        target.start_canary(NEXT)
        assert healthy(lambda: target.canary_health(NEXT)).told == "1 at version 2 ready"
        assert answering(space) == {GOOD}, "no client gets to an unproved canary"
        assert [client_version(target, track) for track in Track] == [{GOOD}, {NEXT}]
        assert_equal_templates(space)

        target.set_share(50)
        assert "50% of the traffic" in healthy(lambda: target.share_health(50)).told
        wait_until(lambda: len(endpoints(space)) == 4, "two servers of each version behind the Service")
        assert [track.share for track in target.status().tracks] == [0.5, 0.5]

        target.begin_promotion(NEXT, GOOD)
        healthy(lambda: target.promotion_health(NEXT))
        assert (target.stable_version(), target.previous_version()) == (NEXT, GOOD)
        target.end_canary()
        healthy(target.canary_ended)
        assert {name: space.get("service", name)["spec"] for name in spec_before} == spec_before
        wait_until(lambda: answering(space) == {NEXT}, "the new version answers everybody")

        target.begin_promotion(GOOD, None)
        healthy(lambda: target.promotion_health(GOOD))
    assert (target.stable_version(), target.previous_version()) == (GOOD, None)


def test_every_step_may_be_done_again(space: Namespace, target: KubernetesTarget):
    """A killed command leaves a half of a step, and the next one does the whole of it again."""
    with target.held("a test"):
        for _ in range(2):
            target.start_canary(NEXT)
        configs = space.names("configmap", "app.kubernetes.io/component=rollout-config")
        healthy(lambda: target.canary_health(NEXT))
        generation = space.get("deployment", "vitrine-canary")["metadata"]["generation"]
        target.start_canary(NEXT)
        assert space.get("deployment", "vitrine-canary")["metadata"]["generation"] == generation
        assert space.names("configmap", "app.kubernetes.io/component=rollout-config") == configs
        for _ in range(2):
            target.end_canary()
        healthy(target.canary_ended)
        healthy(target.canary_ended)


def test_what_is_applied_or_scaled_meanwhile_stays(space: Namespace, target: KubernetesTarget):
    """The manifests say nothing of what a rollout changes in the Services, and an autoscaler scales as it likes."""
    with target.held("a test"):
        target.start_canary(NEXT)
        space.apply([thing for thing in objects(replicas=2) if thing["kind"] == "Service"])
        assert space.get("service", "vitrine")["spec"]["selector"][TRACK] == "stable"
        space.kubectl("scale", "deployment/vitrine-stable", "--replicas=3")
        target.begin_promotion(NEXT, GOOD)
        assert space.get("deployment", "vitrine-stable")["spec"]["replicas"] == 3
        space.kubectl("scale", "deployment/vitrine-stable", "--replicas=2")
        healthy(lambda: target.promotion_health(NEXT))


@pytest.mark.parametrize(
    ("version", "told"),
    [(CRASHING, f"ends again and again.*exit code 1.*{ERROR}"), (UNLOADABLE, f"could not be loaded: {ERROR}")],
)
def test_a_version_that_cannot_be_served_fails_with_the_servers_words(
    target: KubernetesTarget, version: int, told: str
):
    with target.held("a test"):
        target.start_canary(version)
        seen = settle(lambda: target.canary_health(version))
        status = target.status()
    assert seen.failed
    assert re.search(told, seen.told), seen.told
    assert [(track.health, track.version) for track in status.tracks] == [("ok", GOOD), ("failing", version)]


def test_a_pod_that_fits_nowhere_or_has_no_image_yet_is_waited_for(
    space: Namespace, target: KubernetesTarget, monkeypatch: pytest.MonkeyPatch
):
    with target.held("a test"):
        target.start_canary(NEXT)
        space.kubectl("set", "resources", "deployment/vitrine-canary", "--requests=cpu=900")
        wait_until(lambda: "Unschedulable: 0/1 nodes" in target.canary_health(NEXT).told, "why the pod has no node")
        assert not target.canary_health(NEXT).failed
        space.kubectl("set", "resources", "deployment/vitrine-canary", "--requests=cpu=5m")
        # Nobody listens there: refused at once.
        space.kubectl("set", "image", "deployment/vitrine-canary", "serving=localhost:1/missing:1")
        wait_until(lambda: "Pull" in target.canary_health(NEXT).told, "why the pod does not start")
        # For as long as a registry may be busy, from the first refusal on; then it has failed.
        assert not target.canary_health(NEXT).failed
        monkeypatch.setattr(health, "PATIENCE_SECONDS", 0.0)
        seen = target.canary_health(NEXT)
    assert seen.failed
    assert re.search(r"container serving: (ErrImagePull|ImagePullBackOff): .*localhost:1", seen.told)


def test_the_state_is_kept_in_the_cluster(space: Namespace, target: KubernetesTarget):
    state = RolloutState(NEXT, GOOD, Phase.SHARING, 1, (5, 50), "alice@host", now(), now())
    with target.held("a test"):
        target.save(state)
    assert connect(None, space.name).state() == state
    assert target.status().rollout == state


def test_a_dry_run_shows_each_object_before_and_after_and_changes_nothing(space: Namespace, target: KubernetesTarget):
    before = everything(space)
    changes = {change.name: change for change in target.rollout_changes(9)}
    assert everything(space) == before
    [config, canary, stable] = sorted(changes)
    assert config.startswith("ConfigMap vitrine-config-v9-") and changes[config].before == ""
    assert "versions: 9" in changes[config].after
    assert (canary, stable) == ("Deployment vitrine-canary", "Deployment vitrine-stable")
    assert "versions/1/metadata" in changes[stable].before and "versions/9/metadata" in changes[stable].after
    assert "managedFields" not in changes[stable].after and "status:" not in changes[stable].after


def test_a_change_needs_the_lease(target: KubernetesTarget):
    with pytest.raises(CommandError, match="lease"):
        target.start_canary(NEXT)


def test_prometheus_is_asked_for_the_pods_of_a_track(space: Namespace, target: KubernetesTarget):
    expected = f'namespace="{space.name}",pod=~"vitrine-canary-[a-z0-9]+-[a-z0-9]+"'
    assert target.prometheus_selectors(Track.CANARY) == expected


def everything(space: Namespace) -> list[tuple[str, object]]:
    listed = json.loads(space.kubectl("get", "deployments,configmaps,services", "--output=json"))["items"]
    return [(thing["metadata"]["name"], thing.get("spec")) for thing in listed]


def endpoints(space: Namespace) -> list[str]:
    """Pods that clients of the Service get to."""
    subsets = space.get("endpoints", "vitrine").get("subsets", [])
    return [address["targetRef"]["name"] for subset in subsets for address in subset.get("addresses", [])]


def answering(space: Namespace) -> set[int]:
    """Versions that clients of the Service get to."""
    pods = [space.get("pod", name) for name in endpoints(space)]
    return {int(pod["metadata"]["labels"]["vitrine.dev/version"]) for pod in pods}


def client_version(target: KubernetesTarget, track: Track) -> set[int]:
    clients = target.clients(track)
    try:
        return {client.metadata().version for client in clients}
    finally:
        for client in clients:
            client.close()


def assert_equal_templates(space: Namespace) -> None:
    """But for the version, the canary's servers are stable's."""
    stable, canary = (space.get("deployment", f"vitrine-{track.value}")["spec"]["template"] for track in Track)
    assert canary["metadata"]["labels"].pop(TRACK) != stable["metadata"]["labels"].pop(TRACK)
    for template in (stable, canary):
        template["metadata"]["labels"].pop("vitrine.dev/version")
        [container] = template["spec"]["containers"]
        container["readinessProbe"]["httpGet"].pop("path")
        container["env"][1].pop("value")
        template["spec"]["volumes"][0]["configMap"].pop("name")
    assert canary == stable
