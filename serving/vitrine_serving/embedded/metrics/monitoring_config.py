"""The file of `--monitoring_config_file`: a MonitoringConfig message in protobuf's text format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from google.protobuf import descriptor_pb2

from vitrine_serving.embedded.text_protos import PACKAGE, message_class, new_file, read_text_proto

DEFAULT_PATH = "/monitoring/prometheus/metrics"


@dataclass(frozen=True)
class MonitoringConfig:
    """Whether the REST port answers with metrics, and under which path of the URL."""

    enabled: bool = False
    path: str = DEFAULT_PATH


def read_monitoring_config(path: str) -> MonitoringConfig:
    """Read the file `path`; raises ServingError as `read_text_proto` does."""
    config = read_text_proto(path, _message_class()())
    prometheus = config.prometheus_config
    return MonitoringConfig(prometheus.enable, prometheus.path or DEFAULT_PATH)


def _message_class() -> Any:
    field = descriptor_pb2.FieldDescriptorProto
    optional = field.LABEL_OPTIONAL
    file = new_file()
    prometheus = file.message_type.add(name="PrometheusConfig")
    prometheus.field.add(name="enable", number=1, type=field.TYPE_BOOL, label=optional)
    prometheus.field.add(name="path", number=2, type=field.TYPE_STRING, label=optional)
    monitoring = file.message_type.add(name="MonitoringConfig")
    monitoring.field.add(
        name="prometheus_config",
        number=1,
        type=field.TYPE_MESSAGE,
        type_name=f".{PACKAGE}.{prometheus.name}",
        label=optional,
    )
    return message_class(file, monitoring.name)
