"""The list of models to serve: read from a file, checked, and as typed values.

Checks come in TensorFlow Serving's order and with its words: a list it takes is taken here and one it
refuses is refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from tensorflow_serving.config import file_system_storage_path_source_pb2, model_server_config_pb2

from vitrine_serving.config.models import ADDRESS
from vitrine_serving.embedded.errors import invalid_argument
from vitrine_serving.embedded.models.policies import All, Latest, Specific, VersionPolicy
from vitrine_serving.embedded.text_protos import read_text_proto

ModelServerConfig: TypeAlias = model_server_config_pb2.ModelServerConfig
ModelConfigs = Iterable[model_server_config_pb2.ModelConfig]

_TENSORFLOW_PLATFORM = "tensorflow"


@dataclass(frozen=True)
class MonitoredModel:
    """Where a model's versions appear, and which of them to serve."""

    name: str
    base_path: str
    policy: VersionPolicy


def read_config_file(path: str) -> ModelServerConfig:
    """The ModelServerConfig in a text proto file, local or at any address TensorFlow reads.

    Raises ServingError: INVALID_ARGUMENT when it is no such proto, else the file system's own code.
    """
    return read_text_proto(path, ModelServerConfig())


def single_model_config(name: str, base_path: str) -> ModelServerConfig:
    """A list of one model, its latest version to be served; a local path may be relative."""
    config = ModelServerConfig()
    config.model_config_list.config.add(
        name=name,
        base_path=base_path if ADDRESS.match(base_path) else str(Path(base_path).absolute()),
        model_platform=_TENSORFLOW_PLATFORM,
    )
    return config


def check_list(configs: ModelConfigs) -> None:
    """Names must be unique and base paths absolute; raises ServingError INVALID_ARGUMENT."""
    names = set()
    for config in configs:
        if config.name in names:
            raise invalid_argument(f"Illegal to list model {config.name} multiple times in config list")
        names.add(config.name)
    for config in configs:
        if not ADDRESS.match(config.base_path):
            raise invalid_argument(
                f"Expected model {config.name} to have an absolute path or URI; got base_path()={config.base_path}"
            )


def check_platforms_kept(old: ModelConfigs, new: ModelConfigs) -> None:
    """A model in both lists must keep its platform; raises ServingError INVALID_ARGUMENT."""
    platforms = {config.name: _platform(config) for config in old}
    for config in new:
        before = platforms.get(config.name)
        if before is not None and _platform(config) != before:
            raise invalid_argument(
                f"Illegal to change a model's platform. For model {config.name} platform was {before} "
                f"and new platform requested is {_platform(config)}"
            )


def monitored_models(configs: ModelConfigs) -> list[MonitoredModel]:
    """The list as typed values; raises ServingError INVALID_ARGUMENT."""
    models = []
    for config in configs:
        if (platform := _platform(config)) != _TENSORFLOW_PLATFORM:
            raise invalid_argument(f"Model {config.name} requests unsupported platform {platform}")
        models.append(MonitoredModel(config.name, config.base_path, _version_policy(config.model_version_policy)))
    return models


def _platform(config: model_server_config_pb2.ModelConfig) -> str:
    if not config.model_type:
        if not config.model_platform:
            raise invalid_argument(
                "Illegal setting neither ModelServerConfig::model_type (deprecated) "
                "nor ModelServerConfig::model_platform."
            )
        return str(config.model_platform)
    if config.model_platform:
        raise invalid_argument(
            "Illegal setting both ModelServerConfig::model_type (deprecated) and ModelServerConfig::model_platform."
        )
    if config.model_type != model_server_config_pb2.TENSORFLOW:
        raise invalid_argument(f"ModelServerConfig::model_type choice {config.model_type} not supported.")
    return _TENSORFLOW_PLATFORM


def _version_policy(
    policy: file_system_storage_path_source_pb2.FileSystemStoragePathSourceConfig.ServableVersionPolicy,
) -> VersionPolicy:
    choice = policy.WhichOneof("policy_choice")
    if choice == "all":
        return All()
    if choice == "specific":
        return Specific(frozenset(policy.specific.versions))
    return Latest(policy.latest.num_versions)
