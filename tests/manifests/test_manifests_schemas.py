"""The manifests are what API servers take: strict schemas, and shapes where there is no schema for a kind."""

from __future__ import annotations

import functools
import json

import kubernetes_validate
import pytest
from kubernetes_validate.utils import all_versions
from rendered import Object, component, everything, find, of_kind

VERSIONS = sorted(version for version in set(all_versions()) if tuple(map(int, version.split("."))) >= (1, 29))
# Gateway API, KEDA, Prometheus operator: their shapes are below.
WITHOUT_SCHEMA = {"HTTPRoute", "GRPCRoute", "ScaledObject", "PodMonitor", "PrometheusRule"}


@functools.cache
def distinct() -> list[Object]:
    """Each object once: most are in all overlays. The text of a ConfigMap is nothing to a schema."""
    short = [
        {**item, "data": {}} if item["kind"] == "ConfigMap" else item
        for objects in everything().values()
        for item in objects
    ]
    return list({json.dumps(item, sort_keys=True): item for item in short}.values())


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid_to_the_letter(version: str) -> None:
    problems, unknown = [], set()
    for item in distinct():
        try:
            kubernetes_validate.validate(item, version, strict=True)
        except kubernetes_validate.SchemaNotFoundError:
            unknown.add(item["kind"])
        except kubernetes_validate.ValidationError as error:
            problems.append(f"{item['kind']}/{item['metadata']['name']}: {error.message}")
    assert problems == []
    assert unknown == WITHOUT_SCHEMA


def test_a_slip_of_the_pen_would_be_seen() -> None:
    service = find(component("pinned"), "Service", "vitrine")
    slipped = {**service, "spec": {**service["spec"], "selectors": {}}}
    with pytest.raises(kubernetes_validate.ValidationError, match="selectors"):
        kubernetes_validate.validate(slipped, VERSIONS[-1], strict=True)


@pytest.mark.parametrize(("kind", "port"), [("HTTPRoute", 8501), ("GRPCRoute", 8500)])
def test_routes_divide_between_the_services_of_the_tracks(kind: str, port: int) -> None:
    objects = component("gateway")
    route = find(objects, kind, "vitrine")
    assert route["apiVersion"] == "gateway.networking.k8s.io/v1"
    assert set(route["spec"]) == {"parentRefs", "rules"}
    [rule] = route["spec"]["rules"]
    assert rule["backendRefs"] == [
        {"name": "vitrine-stable", "port": port, "weight": 100},
        {"name": "vitrine-canary", "port": port, "weight": 0},
    ]
    for backend in rule["backendRefs"]:
        assert port in [entry["port"] for entry in find(objects, "Service", backend["name"])["spec"]["ports"]]


def test_the_two_routes_do_not_share_a_listener() -> None:
    """With one host name on one listener, gateways keep one of the two."""
    parents = [find(component("gateway"), kind, "vitrine")["spec"]["parentRefs"] for kind in ("HTTPRoute", "GRPCRoute")]
    assert parents == [[{"name": "vitrine", "sectionName": "rest"}], [{"name": "vitrine", "sectionName": "grpc"}]]


def test_nobody_reloads_the_server_through_the_gateway() -> None:
    [rule] = find(component("gateway"), "GRPCRoute", "vitrine")["spec"]["rules"]
    assert [match["method"] for match in rule["matches"]] == [
        {"service": "tensorflow.serving.PredictionService"},
        {"service": "tensorflow.serving.ModelService", "method": "GetModelStatus"},
    ]


def test_a_scaled_object_is_what_keda_takes() -> None:
    scaled = find(component("autoscaling-keda"), "ScaledObject", "vitrine-stable")
    assert scaled["apiVersion"] == "keda.sh/v1alpha1"
    assert scaled["spec"]["scaleTargetRef"] == {"name": "vitrine-stable"}
    assert 2 <= scaled["spec"]["minReplicaCount"] < scaled["spec"]["maxReplicaCount"]
    assert scaled["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["name"] == "vitrine-stable"
    for trigger in scaled["spec"]["triggers"]:
        assert trigger["type"] == "prometheus"
        # KEDA reads text.
        assert all(isinstance(value, str) for value in trigger["metadata"].values())
        assert set(trigger["metadata"]) == {"serverAddress", "query", "threshold"}


def test_monitors_are_what_the_prometheus_operator_takes() -> None:
    monitors = of_kind(component("monitoring"), "PodMonitor")
    assert {monitor["metadata"]["name"] for monitor in monitors} == {"vitrine", "vitrine-probe"}
    for monitor in monitors:
        assert monitor["apiVersion"] == "monitoring.coreos.com/v1"
        [endpoint] = monitor["spec"]["podMetricsEndpoints"]
        assert set(endpoint) <= {"port", "path", "params", "interval", "scrapeTimeout", "relabelings"}
        for relabeling in endpoint["relabelings"]:
            assert set(relabeling) <= {"sourceLabels", "regex", "targetLabel", "replacement"}
    [rule] = of_kind(component("monitoring"), "PrometheusRule")
    assert (rule["apiVersion"], set(rule["spec"])) == ("monitoring.coreos.com/v1", {"groups"})
