"""The monitoring configuration file, read as TensorFlow Serving reads it."""

from __future__ import annotations

import pytest

from vitrine_serving.embedded.errors import Code, ServingError
from vitrine_serving.embedded.metrics.monitoring_config import MonitoringConfig, read_monitoring_config


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('prometheus_config { enable: true, path: "/metrics" }', MonitoringConfig(True, "/metrics")),
        ("prometheus_config: {\n  enable: 1\n}\n", MonitoringConfig(True, "/monitoring/prometheus/metrics")),
        ('prometheus_config { path: "/metrics" }', MonitoringConfig(False, "/metrics")),
        ("# nothing\n", MonitoringConfig(False, "/monitoring/prometheus/metrics")),
    ],
)
def test_config(tmp_path, text, expected):
    file = tmp_path / "monitoring.config"
    file.write_text(text)
    assert read_monitoring_config(str(file)) == expected


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"prometheus_config { enable: perhaps }", "perhaps"),
        (b"prometheus_config { port: 9090 }", "port"),
        (b"prometheus_config { enable: true", "Expected"),
        (b"prometheus_config { enable: true enable: true }", "enable"),
        (b'prometheus_config { path: "\xff" }', "decode"),
    ],
)
def test_what_is_wrong_with_it_is_told_in_one_line(tmp_path, content, reason):
    file = tmp_path / "monitoring.config"
    file.write_bytes(content)
    with pytest.raises(ServingError) as raised:
        read_monitoring_config(str(file))
    assert raised.value.code == Code.INVALID_ARGUMENT
    assert raised.value.message.startswith(f"Invalid protobuf file: '{file}': ")
    assert reason in raised.value.message
    assert "\n" not in raised.value.message


def test_an_empty_file_is_refused(tmp_path):
    file = tmp_path / "monitoring.config"
    file.touch()
    with pytest.raises(ServingError, match="empty") as raised:
        read_monitoring_config(str(file))
    assert raised.value.code == Code.INVALID_ARGUMENT


def test_no_such_file(tmp_path):
    with pytest.raises(ServingError, match="No such file or directory") as raised:
        read_monitoring_config(str(tmp_path / "missing"))
    assert raised.value.code == Code.NOT_FOUND


def test_a_directory_is_not_a_file(tmp_path):
    with pytest.raises(ServingError, match="directory") as raised:
        read_monitoring_config(str(tmp_path))
    assert raised.value.code == Code.FAILED_PRECONDITION
