"""What the manifests promise to who runs them: pinned versions, updates without a pause, nothing more than needed."""

from __future__ import annotations

import re
from pathlib import Path

import configargparse
import pytest
import yaml
from rendered import (
    K8S,
    MODEL,
    OVERLAYS,
    REPOSITORY,
    VERSION,
    component,
    environment,
    everything,
    find,
    job,
    of_kind,
    overlay,
    pod_templates,
    server,
    tracks,
)

from vitrine_client.load.arguments import add_arguments
from vitrine_client.load.profile import Profile
from vitrine_export.training.cluster import read_cluster
from vitrine_serving import cli
from vitrine_serving.config.flags import server_flags
from vitrine_serving.embedded.flags import parser

NAME = {"app.kubernetes.io/name": "vitrine"}


@pytest.mark.parametrize("name", OVERLAYS)
def test_an_overlays_configuration_is_what_the_command_writes(name: str, tmp_path: Path) -> None:
    version = tmp_path / "models" / "digits" / "1"
    version.mkdir(parents=True)
    (version / "saved_model.pb").touch()
    out = tmp_path / "config"
    cli.main(["config", "write", "--models", str(tmp_path / "models"), "--model", "digits=1", "--out", str(out)])
    committed = K8S / "overlays" / name / "config"
    assert {path.name: path.read_text() for path in committed.iterdir()} == {
        path.name: path.read_text() for path in out.iterdir()
    }


def test_one_configuration_pins_all_places_of_both_tracks() -> None:
    objects = component("store-s3")
    [config] = of_kind(objects, "ConfigMap")
    assert config["immutable"]
    assert (config["data"]["MODEL"], config["data"]["VERSION"]) == (MODEL, str(VERSION))
    for deployment in tracks(objects):
        template = deployment["spec"]["template"]
        pod = template["spec"]
        assert template["metadata"]["labels"]["vitrine.dev/model"] == MODEL
        assert template["metadata"]["labels"]["vitrine.dev/version"] == str(VERSION)
        [volume] = [volume for volume in pod["volumes"] if volume["name"] == "config"]
        assert volume["configMap"]["name"] == config["metadata"]["name"]
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            path = server(deployment)[probe]["httpGet"]["path"]
            assert path == f"/v1/models/{MODEL}/versions/{VERSION}/metadata"
        for container in (*pod["initContainers"], *pod["containers"]):
            values = environment(container)
            assert (values["VITRINE_MODEL"], values["VITRINE_VERSION"]) == (MODEL, str(VERSION))


def test_services_reach_both_tracks_or_one_and_nothing_else() -> None:
    objects = component("load", "monitoring", "rollout", "train")
    selectors = {item["metadata"]["name"]: item["spec"]["selector"] for item in of_kind(objects, "Service")}
    assert selectors["vitrine"] == selectors["vitrine-headless"] == NAME
    assert find(objects, "Service", "vitrine-headless")["spec"]["clusterIP"] == "None"
    labels = {name: set(template["metadata"]["labels"].items()) for name, template in pod_templates(objects)}
    reached = {
        service: {name for name, given in labels.items() if set(selector.items()) <= given}
        for service, selector in selectors.items()
    }
    both = {"Deployment/vitrine-stable", "Deployment/vitrine-canary"}
    assert reached["vitrine"] == reached["vitrine-headless"] == both
    assert reached["vitrine-stable"] == {"Deployment/vitrine-stable"}
    assert reached["vitrine-canary"] == {"Deployment/vitrine-canary"}
    for name in ("train", "train-workers", "rollout"):
        for _, template in pod_templates(job(name)):
            assert template["metadata"]["labels"]["app.kubernetes.io/name"] != "vitrine"


def test_a_rolling_update_never_has_fewer_servers_and_no_selector_names_a_version() -> None:
    for objects in everything().values():
        for deployment in of_kind(objects, "Deployment"):
            assert not {"vitrine.dev/version", "vitrine.dev/model"} & set(deployment["spec"]["selector"]["matchLabels"])
        for deployment in tracks(objects) if of_kind(objects, "PodDisruptionBudget") else []:
            assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
            startup = server(deployment)["startupProbe"]
            allowed = startup["periodSeconds"] * startup["failureThreshold"]
            assert allowed < deployment["spec"]["progressDeadlineSeconds"]


@pytest.mark.parametrize("name", OVERLAYS)
def test_clients_have_left_a_pod_before_it_is_killed(name: str) -> None:
    """TensorFlow Serving ignores SIGTERM: what counts is how long preStop lets it work on."""
    for deployment in tracks(overlay(name)):
        container = server(deployment)
        given = [flag.replace("$(CPUS)", "2") for flag in container["args"]]
        channel = dict(parser.parse(given).grpc_channel_arguments)
        # gRPC moves the age by up to 10 %; nodes learn in about 5 seconds that a pod ends.
        leave = 5000 + 1.1 * channel["grpc.max_connection_age_ms"] + channel["grpc.max_connection_age_grace_ms"]
        command, seconds = container["lifecycle"]["preStop"]["exec"]["command"]
        assert command == "sleep"
        assert 1000 * int(seconds) >= leave
        assert deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > int(seconds)


@pytest.mark.parametrize(("name", "gpu"), [("cpu", False), ("gpu", True), ("dev", False)])
def test_flags_are_those_that_the_command_prints(name: str, gpu: bool) -> None:
    printed = set(server_flags("/etc/vitrine", grpc_port=8500, rest_port=8501, cpus=2, gpu=gpu))
    for deployment in tracks(overlay(name)):
        given = {flag.replace("$(CPUS)", "2") for flag in server(deployment)["args"]}
        assert {flag for flag in given if not flag.startswith("--grpc_channel_arguments")} == printed


def test_images_are_those_of_the_compose_file() -> None:
    composed = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())["services"].values()
    known = {service["image"].replace("${VITRINE_TAG:-0.1.0}", "0.1.0") for service in composed}
    used = {
        container["image"]
        for objects in everything().values()
        for _, template in pod_templates(objects)
        for container in (*template["spec"].get("initContainers", []), *template["spec"]["containers"])
    }
    assert {image for image in used - known if not image.startswith("amazon/aws-cli:")} == set()


def test_no_pod_has_more_rights_than_it_needs() -> None:
    for objects in everything().values():
        for name, template in pod_templates(objects):
            pod = template["spec"]
            assert pod["automountServiceAccountToken"] is (name == "Job/vitrine-rollout")
            assert pod["securityContext"]["runAsNonRoot"]
            assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
            for container in (*pod.get("initContainers", []), *pod["containers"]):
                assert container["securityContext"] == {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                }
                resources = container["resources"]
                assert resources["requests"]["memory"] == resources["limits"]["memory"]
                assert "cpu" in resources["requests"]
    for name in OVERLAYS:
        [namespace] = of_kind(overlay(name), "Namespace")
        assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize(
    ("names", "stable"),
    [(("pinned",), 2), (("gpu",), 2), (("autoscaling",), None), (("gpu", "autoscaling-keda"), None)],
)
def test_an_apply_does_not_fight_the_autoscaler(names: tuple[str, ...], stable: int | None) -> None:
    one, canary = tracks(component(*names))
    assert one["spec"].get("replicas") == stable
    assert canary["spec"]["replicas"] == 0


def test_only_the_official_image_insists_on_amd64() -> None:
    for names, selector in (
        (("pinned",), {"kubernetes.io/arch": "amd64"}),
        (("gpu",), {"kubernetes.io/arch": "amd64", "nvidia.com/gpu.present": "true"}),
        (("embedded",), None),
    ):
        for deployment in tracks(component(*names)):
            assert deployment["spec"]["template"]["spec"].get("nodeSelector") == selector


def test_a_gpu_pod_asks_for_one_gpu_and_not_for_all_of_its_memory() -> None:
    for deployment in tracks(overlay("gpu")):
        container = server(deployment)
        assert container["image"] == "tensorflow/serving:2.20.0-gpu"
        assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
        assert environment(container)["TF_FORCE_GPU_ALLOW_GROWTH"] == "true"
        assert deployment["spec"]["template"]["spec"]["tolerations"][0]["key"] == "nvidia.com/gpu"


@pytest.mark.parametrize(("name", "volume"), [("store-gcs", None), ("store-s3", {"sizeLimit": "5Gi"})])
def test_a_store_in_a_cloud_takes_the_place_of_the_volume(name: str, volume: dict[str, str] | None) -> None:
    objects = component(name)
    assert of_kind(objects, "PersistentVolumeClaim") == []
    for deployment in tracks(objects):
        models = [entry for entry in deployment["spec"]["template"]["spec"]["volumes"] if entry["name"] == "models"]
        assert models == ([{"name": "models", "emptyDir": volume}] if volume else [])
        mounted = [mount["mountPath"] for mount in server(deployment)["volumeMounts"]]
        assert ("/models" in mounted) is bool(volume)
    assert find(objects, "ServiceAccount", "vitrine-serving")["metadata"]["annotations"]
    assert find(objects, "NetworkPolicy", "vitrine-store")["spec"]["policyTypes"] == ["Egress"]


def test_the_rollout_may_change_what_it_must_and_nothing_else() -> None:
    objects = component("rollout", "gateway")
    changes = {}
    for rule in find(objects, "Role", "vitrine-rollout")["rules"]:
        for resource in rule["resources"]:
            verbs = set(rule["verbs"]) - {"get", "list", "watch"}
            if verbs:
                changes[resource, tuple(rule.get("resourceNames", ()))] = verbs
            assert "*" not in (*rule["apiGroups"], *rule["resources"], *rule["verbs"])
    assert changes == {
        ("deployments", ("vitrine-stable", "vitrine-canary")): {"patch"},
        ("services", ("vitrine", "vitrine-headless")): {"patch"},
        ("httproutes", ("vitrine",)): {"patch"},
        ("grpcroutes", ("vitrine",)): {"patch"},
        ("configmaps", ()): {"create", "delete"},
        ("leases", ()): {"create"},
        ("leases", ("vitrine-rollout",)): {"update"},
    }
    [binding] = of_kind(objects, "RoleBinding")
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "vitrine-rollout", "namespace": "vitrine"}]
    [template] = [template for _, template in pod_templates(job("rollout"))]
    assert template["spec"]["serviceAccountName"] == "vitrine-rollout"


@pytest.mark.parametrize("index", [0, 1])
def test_workers_of_one_training_know_each_other(index: int) -> None:
    service = find(component("train"), "Service", "vitrine-train-workers")
    workers = find(job("train-workers"), "Job", "vitrine-train-workers")["spec"]
    [container] = workers["template"]["spec"]["containers"]
    # The cluster puts in the index, and gives each pod the name JOB-INDEX below the Service.
    text = str(environment(container)["TF_CONFIG"]).replace("$(INDEX)", str(index))
    cluster = read_cluster({"TF_CONFIG": text})
    assert cluster is not None
    assert cluster.number == index
    assert cluster.addresses == tuple(
        f"vitrine-train-workers-{number}.{service['metadata']['name']}:2222" for number in range(workers["completions"])
    )
    assert workers["template"]["spec"]["subdomain"] == service["metadata"]["name"]
    assert set(service["spec"]["selector"].items()) <= set(workers["template"]["metadata"]["labels"].items())
    assert re.fullmatch(
        r".*\[index\]|.*job-completion-index'\]", container["env"][0]["valueFrom"]["fieldRef"]["fieldPath"]
    )


def test_the_load_jobs_options_are_an_open_loop_with_objectives() -> None:
    [config] = of_kind(job("load"), "ConfigMap")
    parser = configargparse.ArgumentParser()
    add_arguments(parser)
    options = parser.parse_args([], env_vars=config["data"])
    profile = Profile.of(options)
    assert profile.is_open
    assert profile.objectives
    assert profile.seconds is not None
    assert 0 < profile.warm_up < profile.seconds
    [expected] = {
        int(argument.partition("=")[2])
        for _, template in pod_templates(job("load"))
        for argument in template["spec"]["containers"][0]["args"]
        if argument.startswith("--expect-workers=")
    }
    assert find(job("load"), "Job", "vitrine-load-test-workers")["spec"]["parallelism"] == expected
