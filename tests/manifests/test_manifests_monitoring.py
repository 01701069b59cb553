"""What watches servers in a cluster is what watches them in compose."""

from __future__ import annotations

import re
import runpy

import yaml
from rendered import K8S, REPOSITORY, Object, component, find

MONITORING = REPOSITORY / "monitoring"


def groups() -> list[Object]:
    files = sorted((MONITORING / "prometheus" / "rules").glob("*.yml"))
    return [group for path in files for group in yaml.safe_load(path.read_text())["groups"]]


def relabelings(monitor: str) -> list[Object]:
    [endpoint] = find(component("monitoring"), "PodMonitor", monitor)["spec"]["podMetricsEndpoints"]
    return list(endpoint["relabelings"])


def relabeled(rules: list[Object], labels: dict[str, str]) -> dict[str, str]:
    """As Prometheus does it, for the one action that is used."""
    for rule in rules:
        joined = ";".join(labels.get(name, "") for name in rule.get("sourceLabels", []))
        match = re.fullmatch(rule.get("regex", "(.*)"), joined)
        if match:
            value = match.expand(re.sub(r"\$(\d)", r"\\\1", rule.get("replacement", "$1")))
            labels = {**labels, rule["targetLabel"]: value}
    return labels


def test_rules_and_alerts_are_those_of_the_folder() -> None:
    assert find(component("monitoring"), "PrometheusRule", "vitrine")["spec"]["groups"] == groups()


def test_the_file_of_rules_is_the_newest() -> None:
    """If not: python k8s/components/monitoring/prometheusrule.py"""
    folder = K8S / "components" / "monitoring"
    manifest = runpy.run_path(str(folder / "prometheusrule.py"))["manifest"]
    assert (folder / "prometheusrule.yaml").read_text() == manifest()


def test_the_dashboard_and_the_prober_are_those_of_the_folder() -> None:
    objects = component("monitoring")
    dashboard = find(objects, "ConfigMap", "vitrine-dashboard")
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"
    path = MONITORING / "grafana" / "dashboards" / "vitrine.json"
    assert dashboard["data"] == {"vitrine.json": path.read_text()}
    [volume] = find(objects, "Deployment", "vitrine-blackbox")["spec"]["template"]["spec"]["volumes"]
    prober = find(objects, "ConfigMap", volume["configMap"]["name"])
    assert prober["data"] == {"blackbox.yml": (MONITORING / "blackbox.yml").read_text()}


def test_each_pod_is_asked_for_the_version_that_it_is_pinned_to() -> None:
    pod = {
        "__address__": "10.0.0.7:8501",
        "__meta_kubernetes_namespace": "shop",
        "__meta_kubernetes_pod_label_vitrine_dev_model": "digits",
        "__meta_kubernetes_pod_label_vitrine_dev_version": "3",
        "__meta_kubernetes_pod_label_vitrine_dev_track": "canary",
    }
    probed = relabeled(relabelings("vitrine-probe"), pod)
    url = "http://10.0.0.7:8501/v1/models/digits/versions/3"
    assert {name: value for name, value in probed.items() if not name.startswith("__meta")} == {
        "__address__": "vitrine-blackbox.shop.svc:9115",
        "__param_target": url,
        "instance": url,
        "job": "vitrine-probe",
        "model_name": "digits",
        "version": "3",
        "track": "canary",
    }
    assert relabeled(relabelings("vitrine"), pod)["job"] == "vitrine"


def test_the_autoscaler_asks_for_what_is_recorded() -> None:
    recorded = {rule["record"] for group in groups() for rule in group["rules"] if "record" in rule}
    triggers = find(component("autoscaling-keda"), "ScaledObject", "vitrine-stable")["spec"]["triggers"]
    asked = {name for trigger in triggers for name in re.findall(r"\w+:\w+:\w+", trigger["metadata"]["query"])}
    assert len(asked) == 3
    assert asked <= recorded
