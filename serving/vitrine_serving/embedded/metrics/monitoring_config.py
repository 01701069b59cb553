"""The file of `--monitoring_config_file`: a MonitoringConfig message in protobuf's text format."""

from __future__ import annotations

from dataclasses import dataclass

from vitrine_serving.config import messages
from vitrine_serving.config.monitoring import METRICS_PATH
from vitrine_serving.embedded.text_protos import read_text_proto

DEFAULT_PATH = METRICS_PATH


@dataclass(frozen=True)
class MonitoringConfig:
    """Whether the REST port answers with metrics, and under which path of the URL."""

    enabled: bool = False
    path: str = DEFAULT_PATH


def read_monitoring_config(path: str) -> MonitoringConfig:
    """Read the file `path`; raises ServingError as `read_text_proto` does."""
    config = read_text_proto(path, messages.MonitoringConfig())
    prometheus = config.prometheus_config
    return MonitoringConfig(prometheus.enable, prometheus.path or DEFAULT_PATH)
