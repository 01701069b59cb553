"""monitoring.config, the file of `--monitoring_config_file`: the metrics that Prometheus collects."""

from __future__ import annotations

from typing import Any

from vitrine_serving.config.errors import InvalidConfig
from vitrine_serving.config.messages import MonitoringConfig
from vitrine_serving.config.text_proto import parse, to_text

METRICS_PATH = "/monitoring/prometheus/metrics"
"""TensorFlow Serving's own default."""


def monitoring_text() -> str:
    """Metrics under METRICS_PATH."""
    message = MonitoringConfig(prometheus_config={"enable": True, "path": METRICS_PATH})
    return to_text(message, "Metrics for Prometheus, under this path of the REST port.")


def parse_monitoring(content: bytes) -> Any:
    """The checked MonitoringConfig message; raises InvalidConfig."""
    message: Any = parse(content, MonitoringConfig())
    path = message.prometheus_config.path
    if path and not path.startswith("/"):
        raise InvalidConfig(f"the path {path!r} of prometheus_config must begin with a slash")
    return message
