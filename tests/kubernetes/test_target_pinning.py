"""A version is pinned in each place that names one, and nothing else changes."""

from __future__ import annotations

import copy

import pytest
from target_objects import GOOD, NEXT, config, template

from vitrine_serving.config.models import parse_models
from vitrine_serving.errors import CommandError
from vitrine_serving.rollout.kubernetes.merging import merge_patch
from vitrine_serving.rollout.kubernetes.naming import Names
from vitrine_serving.rollout.kubernetes.pinning import pinned_config, pinned_template, superfluous
from vitrine_serving.rollout.kubernetes.shares import canary_replicas
from vitrine_serving.rollout.target import Track

NAMES = Names("vitrine")


def test_a_pinned_pod_names_its_version_in_all_four_places():
    pinned = pinned_template(template("stable"), "digits", NEXT, "vitrine-config-v2", Track.CANARY)
    assert pinned == template("canary", NEXT, "vitrine-config-v2")


def test_pinning_back_gives_what_there_was():
    there = pinned_template(template("stable"), "digits", NEXT, "vitrine-config-v2", Track.STABLE)
    assert pinned_template(there, "digits", GOOD, "vitrine-config-abc", Track.STABLE) == template("stable")


def test_a_variable_from_the_configuration_follows_it_and_another_model_stays():
    pod = template("stable")
    key = {"configMapKeyRef": {"name": "vitrine-config-abc", "key": "VERSION"}}
    probe = {"httpGet": {"path": "/v1/models/digits2/versions/1/metadata"}}
    sync = {"name": "sync", "env": [{"name": "VITRINE_VERSION", "valueFrom": key}], "livenessProbe": probe}
    pod["spec"]["initContainers"] = [sync]
    [pinned] = pinned_template(pod, "digits", NEXT, "new", Track.STABLE)["spec"]["initContainers"]
    assert pinned["env"] == [
        {"name": "VITRINE_VERSION", "valueFrom": {"configMapKeyRef": {"name": "new", "key": "VERSION"}}}
    ]
    assert pinned["livenessProbe"] == probe


def test_pods_without_the_configuration_volume_cannot_be_pinned():
    pod = template("stable")
    pod["spec"]["volumes"] = []
    with pytest.raises(CommandError, match="no volume 'config'"):
        pinned_template(pod, "digits", NEXT, "new", Track.STABLE)


def test_a_pinned_configuration_differs_in_its_version_alone():
    there = config()
    there["data"]["batching.config"] = "max_batch_size { value: 7 }\n"
    pinned = pinned_config(there, NAMES, "digits", NEXT)["data"]
    assert pinned["batching.config"] == there["data"]["batching.config"]
    assert (pinned["VERSION"], pinned["MODEL"], pinned["pinned"]) == ("2", "digits", "digits 2\n")
    assert pinned["probes.json"] == config(NEXT)["data"]["probes.json"]
    assert parse_models(pinned["models.config"].encode()) == parse_models(
        config(NEXT)["data"]["models.config"].encode()
    )


def test_what_models_config_says_besides_is_kept():
    there = config()
    platform = 'model_platform: "tensorflow"'
    sampled = f"{platform} logging_config {{ sampling_config {{ sampling_rate: 0.5 }} }}"
    there["data"]["models.config"] = there["data"]["models.config"].replace(platform, sampled)
    pinned = pinned_config(there, NAMES, "digits", NEXT)["data"]["models.config"]
    assert "sampling_rate: 0.5" in pinned


def test_the_name_of_a_configuration_tells_its_content():
    once, again = (pinned_config(config(), NAMES, "digits", NEXT) for _ in range(2))
    assert once == again
    other = config()
    other["data"]["batching.config"] = "max_batch_size { value: 7 }\n"
    assert pinned_config(other, NAMES, "digits", NEXT)["metadata"]["name"] != once["metadata"]["name"]
    assert once["metadata"]["name"].startswith("vitrine-config-v2-")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "the file is empty"),
        ("model_config_list {", "Expected"),
        (
            'model_config_list { config { name: "other" base_path: "/m" model_platform: "tensorflow" '
            "model_version_policy { specific { versions: 1 } } } }",
            "model digits is not listed",
        ),
        (
            'model_config_list { config { name: "digits" base_path: "/m" model_platform: "tensorflow" } }',
            "model digits is pinned to no version",
        ),
    ],
)
def test_a_configuration_that_pins_nothing_is_refused(text: str, told: str):
    there = config()
    there["data"]["models.config"] = text
    with pytest.raises(CommandError, match=told):
        pinned_config(there, NAMES, "digits", NEXT)


def test_the_oldest_configurations_go_and_those_in_use_stay():
    made = [
        {"metadata": {"name": f"config-{age}", "creationTimestamp": f"2026-01-{30 - age}T00:00:00Z"}}
        for age in range(6)
    ]
    owner = {"spec": {"template": template("stable", config="config-5")}}
    assert superfluous(made, [owner], keep=3) == ["config-3", "config-4"]


@pytest.mark.parametrize(
    ("stable", "percent", "canary"), [(2, 5, 1), (4, 50, 4), (3, 25, 1), (10, 25, 3), (0, 50, 1), (20, 5, 1)]
)
def test_a_share_is_a_ratio_of_servers(stable: int, percent: int, canary: int):
    assert canary_replicas(stable, percent) == canary


@pytest.mark.parametrize("percent", [0, 100])
def test_nothing_and_everything_are_no_shares(percent: int):
    with pytest.raises(CommandError, match="1 to 99"):
        canary_replicas(2, percent)


def test_a_merge_patch_names_nothing_but_what_is_different():
    before = {"a": {"x": 1, "y": 2, "z": {"same": 1}}, "list": [1], "gone": 1}
    after = {"a": {"x": 1, "y": 3, "z": {"same": 1}}, "list": [1, 2], "new": {"k": "v"}}
    assert merge_patch(before, after) == {"a": {"y": 3}, "list": [1, 2], "gone": None, "new": {"k": "v"}}
    assert merge_patch(before, copy.deepcopy(before)) == {}


@pytest.mark.parametrize("name", ["", "Vitrine", "vitrine/../x", "-x", "x" * 41])
def test_a_name_that_no_object_can_have_is_refused(name: str):
    with pytest.raises(CommandError, match="small letters"):
        Names(name)
