"""The messages of TensorFlow Serving's configuration files, without its Python package, which brings all of TensorFlow.

Field names, numbers and types are those of tensorflow/serving.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, message_factory, wrappers_pb2

PACKAGE = "tensorflow.serving"
_IMPORTS = (any_pb2.DESCRIPTOR, wrappers_pb2.DESCRIPTOR)
_KINDS = descriptor_pb2.FieldDescriptorProto


class _Field(NamedTuple):
    number: int
    kind: str
    """A scalar type, or the name of a message."""
    repeated: bool = False
    oneof: str = ""


_SCALARS = {
    "bool": _KINDS.TYPE_BOOL,
    "double": _KINDS.TYPE_DOUBLE,
    "int32": _KINDS.TYPE_INT32,
    "int64": _KINDS.TYPE_INT64,
    "string": _KINDS.TYPE_STRING,
    "uint32": _KINDS.TYPE_UINT32,
}
_ANY = "google.protobuf.Any"
_BOOL_VALUE = "google.protobuf.BoolValue"
_INT64_VALUE = "google.protobuf.Int64Value"
_MODEL_TYPES = ("MODEL_TYPE_UNSPECIFIED", "TENSORFLOW", "OTHER")

_MESSAGES: dict[str, dict[str, _Field]] = {
    "Latest": {"num_versions": _Field(1, "uint32")},
    "All": {},
    "Specific": {"versions": _Field(1, "int64", repeated=True)},
    "ServableVersionPolicy": {
        "latest": _Field(100, "Latest", oneof="policy_choice"),
        "all": _Field(101, "All", oneof="policy_choice"),
        "specific": _Field(102, "Specific", oneof="policy_choice"),
    },
    "LogCollectorConfig": {"type": _Field(1, "string"), "filename_prefix": _Field(2, "string")},
    "PerTaskSamplingConfig": {
        "dc": _Field(1, "string"),
        "task_index": _Field(2, "int32"),
        "sampling_rate": _Field(3, "double"),
    },
    "SamplingConfig": {
        "sampling_rate": _Field(1, "double"),
        "attributes": _Field(2, "int32"),
        "per_task_sampling_configs": _Field(3, "PerTaskSamplingConfig", repeated=True),
    },
    "LoggingConfig": {
        "log_collector_config": _Field(1, "LogCollectorConfig"),
        "sampling_config": _Field(2, "SamplingConfig"),
        "custom_logging_config": _Field(3, _ANY),
    },
    "ModelConfig": {
        "name": _Field(1, "string"),
        "base_path": _Field(2, "string"),
        "model_type": _Field(3, "ModelType"),
        "model_platform": _Field(4, "string"),
        "logging_config": _Field(6, "LoggingConfig"),
        "model_version_policy": _Field(7, "ServableVersionPolicy"),
        "version_labels": _Field(8, "ModelConfig.VersionLabelsEntry", repeated=True),
    },
    "ModelConfigList": {"config": _Field(1, "ModelConfig", repeated=True)},
    "ModelServerConfig": {
        "model_config_list": _Field(1, "ModelConfigList", oneof="config"),
        "custom_model_config": _Field(2, _ANY, oneof="config"),
    },
    "PrometheusConfig": {"enable": _Field(1, "bool"), "path": _Field(2, "string")},
    "MonitoringConfig": {"prometheus_config": _Field(1, "PrometheusConfig")},
    "BatchingParameters": {
        "max_batch_size": _Field(1, _INT64_VALUE),
        "batch_timeout_micros": _Field(2, _INT64_VALUE),
        "max_enqueued_batches": _Field(3, _INT64_VALUE),
        "num_batch_threads": _Field(4, _INT64_VALUE),
        "thread_pool_name": _Field(5, "google.protobuf.StringValue"),
        "allowed_batch_sizes": _Field(6, "int64", repeated=True),
        "pad_variable_length_inputs": _Field(7, "bool"),
        "enable_large_batch_splitting": _Field(8, _BOOL_VALUE),
        "max_execution_batch_size": _Field(9, _INT64_VALUE),
    },
}


def new_file() -> descriptor_pb2.FileDescriptorProto:
    """A file of PACKAGE to define messages in; wrapper types and Any are at hand."""
    return descriptor_pb2.FileDescriptorProto(
        name="messages.proto", package=PACKAGE, syntax="proto3", dependency=[imported.name for imported in _IMPORTS]
    )


def message_class(file: descriptor_pb2.FileDescriptorProto, name: str) -> Any:
    """The class of message `name` of `file`.

    It lives in a pool of its own: the common one raises where another package registers the same name.
    """
    pool = descriptor_pool.DescriptorPool()
    for imported in _IMPORTS:
        pool.AddSerializedFile(imported.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = new_file()
    model_type = file.enum_type.add(name="ModelType")
    for number, name in enumerate(_MODEL_TYPES):
        model_type.value.add(name=name, number=number)
    for name, fields in _MESSAGES.items():
        _add_fields(file.message_type.add(name=name), fields)
    [model_config] = [message for message in file.message_type if message.name == "ModelConfig"]
    entry = model_config.nested_type.add(name="VersionLabelsEntry")
    _add_fields(entry, {"key": _Field(1, "string"), "value": _Field(2, "int64")})
    entry.options.map_entry = True
    return file


def _add_fields(message: descriptor_pb2.DescriptorProto, fields: dict[str, _Field]) -> None:
    for name, field in fields.items():
        label = _KINDS.LABEL_REPEATED if field.repeated else _KINDS.LABEL_OPTIONAL
        added = message.field.add(name=name, number=field.number, label=label)
        if field.kind in _SCALARS:
            added.type = _SCALARS[field.kind]
        else:
            added.type = _KINDS.TYPE_ENUM if field.kind == "ModelType" else _KINDS.TYPE_MESSAGE
            added.type_name = f".{field.kind}" if field.kind.startswith("google.") else f".{PACKAGE}.{field.kind}"
        if field.oneof:
            if not message.oneof_decl:
                message.oneof_decl.add(name=field.oneof)
            added.oneof_index = 0


_FILE = _file()
ModelServerConfig = message_class(_FILE, "ModelServerConfig")
MonitoringConfig = message_class(_FILE, "MonitoringConfig")
BatchingParameters = message_class(_FILE, "BatchingParameters")
