"""Prometheus' and the blackbox exporter's files, checked and tested by their own programs."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_server import MONITORING, adjusted_copy, blackbox_program, program

RULES = sorted((MONITORING / "prometheus" / "rules").glob("*.yml"))
RULE_TESTS = sorted((MONITORING / "prometheus" / "tests").glob("*.yml"))


def run(*command: str | Path) -> str:
    """What a program says, which must end well."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_prometheus_accepts_the_configuration(tmp_path):
    config = adjusted_copy(tmp_path)
    (tmp_path / "probes.json").write_text('[{"targets": ["http://vitrine:8501/v1/models/m/versions/1"]}]')
    said = run(program("promtool"), "check", "config", config)
    assert f"SUCCESS: {len(RULES)} rule files found" in said


def test_prometheus_accepts_the_rules_as_they_are():
    run(program("promtool"), "check", "rules", *RULES)


@pytest.mark.parametrize("path", RULE_TESTS, ids=lambda path: path.stem)
def test_alerts_fire_and_records_are_right(path):
    run(program("promtool"), "test", "rules", path)


def test_the_blackbox_exporter_accepts_its_configuration():
    run(blackbox_program(), "--config.check", f"--config.file={MONITORING / 'blackbox.yml'}")


def test_each_alert_is_seen_to_fire_and_says_what_to_do():
    tests = "\n".join(path.read_text() for path in RULE_TESTS)
    alerts = [
        rule
        for path in RULES
        for group in yaml.safe_load(path.read_text())["groups"]
        for rule in group["rules"]
        if "alert" in rule
    ]
    assert len(alerts) == 9
    for alert in alerts:
        name = alert["alert"]
        assert re.search(rf'labels: (>-\s+|\')ALERTS\{{alertname="{name}", alertstate="firing"', tests), name
        assert alert["labels"]["severity"] in ("critical", "warning"), name
        assert set(alert["annotations"]) == {"summary", "description"}, name


def test_records_are_all_in_the_tests():
    tests = "\n".join(path.read_text() for path in RULE_TESTS)
    records = re.findall(r"- record: (\S+)", "".join(path.read_text() for path in RULES))
    assert len(records) == len(set(records)) > 10
    assert [name for name in records if not re.search(rf"\b{name}\b", tests)] == []


@pytest.mark.parametrize("path", sorted(MONITORING.rglob("*.yml")), ids=lambda path: str(path.relative_to(MONITORING)))
def test_yaml_is_tidy(path):
    text = path.read_text()
    assert yaml.safe_load(text)
    assert text.endswith("\n") and not text.endswith("\n\n")
    untidy = [line for line in text.splitlines() if len(line) > 120 or line != line.rstrip() or "\t" in line]
    assert untidy == []
