"""Lists of models, as a config file holds them and as a client sends them."""

from __future__ import annotations

from pathlib import Path

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

ALL = "model_version_policy { all {} }"


def model_list(folder: Path, **models: str) -> model_server_config_pb2.ModelServerConfig:
    """Models whose base paths are their names in `folder`, each with further fields as text."""
    config = model_server_config_pb2.ModelServerConfig()
    config.model_config_list.SetInParent()
    for name, fields in models.items():
        entry = config.model_config_list.config.add(
            name=name, base_path=str(folder / name), model_platform="tensorflow"
        )
        text_format.Merge(fields, entry)
    return config


def write_model_list(path: Path, config: model_server_config_pb2.ModelServerConfig) -> Path:
    """Whole or not at all, as a careful editor writes it."""
    staged = path.with_suffix(".new")
    staged.write_text(text_format.MessageToString(config))
    return staged.replace(path)


def labels(**versions: int) -> str:
    return " ".join(f'version_labels {{ key: "{label}" value: {version} }}' for label, version in versions.items())
