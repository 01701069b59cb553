"""models.config, the file of `--model_config_file`: models pinned to versions, as typed values and as text."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vitrine_serving.config.errors import InvalidConfig, place
from vitrine_serving.config.messages import ModelServerConfig
from vitrine_serving.config.text_proto import parse, to_text
from vitrine_serving.errors import CommandError

_PLATFORM = "tensorflow"
_TENSORFLOW_TYPE = 1  # ModelType.TENSORFLOW, the older way to say the same
# What TensorFlow Serving takes for a base path: absolute, or with a scheme.
ADDRESS = re.compile(r"[a-zA-Z][0-9a-zA-Z.]*://|/")


@dataclass(frozen=True)
class PinnedModel:
    """One model and the versions of it that are served, whatever else the store holds.

    Attributes:
        name: what clients call the model.
        base_path: the folder with its versions, as the server sees it.
        versions: the versions served; requests that name none go to the highest of them.
        labels: versions by label.
    """

    name: str
    base_path: str
    versions: tuple[int, ...]
    labels: Mapping[str, int] = field(default_factory=dict)


def models_text(models: Sequence[PinnedModel]) -> str:
    """The text of a models.config; not checked."""
    return to_text(_message(models), "The whole list of models to serve; `vitrine-serving config write` replaces it.")


def read_models(path: Path) -> tuple[PinnedModel, ...]:
    """The models of a models.config that lists nothing but pinned ones, so that `models_text` can write them again.

    Raises CommandError where the file cannot be read, TensorFlow Serving would not take it, or writing it again would
    lose something it says.
    """
    try:
        message = parse_models(path.read_bytes())
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}; write it with `vitrine-serving config write`") from None
    except InvalidConfig as error:
        where = place(str(path), error.line, error.column)
        raise CommandError(f"{where}: {error}; write it anew with `vitrine-serving config write`") from None
    entries = message.model_config_list.config
    models = tuple(_pinned(entry) for entry in entries)
    for model, entry in zip(models, entries, strict=True):
        if _message([model]).model_config_list.config[0] != entry:
            raise CommandError(
                f"{path}: model {model.name} is not just pinned to versions and labelled, so rewriting the file would "
                "lose what it says; pin it with `specific { versions: N }`, or edit the file by hand"
            )
    return models


def parse_models(content: bytes) -> Any:
    """The ModelServerConfig message, checked as TensorFlow Serving does and for what would serve nothing.

    Raises InvalidConfig.
    """
    message: Any = parse(content, ModelServerConfig())
    if message.WhichOneof("config") == "custom_model_config":
        raise InvalidConfig("custom_model_config is not supported: list models in model_config_list")
    entries = message.model_config_list.config
    if not entries:
        raise InvalidConfig("no model is listed, so nothing would be served")
    names = set()
    for entry in entries:
        if entry.name in names:
            raise InvalidConfig(f"model {entry.name} is listed twice; names must be unique")
        names.add(entry.name)
        _check_entry(entry)
    return message


def _check_entry(entry: Any) -> None:
    if not entry.name:
        raise InvalidConfig("a model has no name")
    if not ADDRESS.match(entry.base_path):
        raise InvalidConfig(
            f"model {entry.name}: base_path {entry.base_path!r} must be absolute or an address such as gs://bucket/name"
        )
    if entry.model_type and entry.model_platform:
        raise InvalidConfig(f"model {entry.name}: give model_platform alone, without model_type")
    if entry.model_platform != _PLATFORM and entry.model_type != _TENSORFLOW_TYPE:
        raise InvalidConfig(f'model {entry.name}: give model_platform: "{_PLATFORM}"; it is {entry.model_platform!r}')
    policy = entry.model_version_policy
    if policy.WhichOneof("policy_choice") != "specific":
        return
    versions = policy.specific.versions
    if not versions:
        raise InvalidConfig(f"model {entry.name}: specific names no version")
    for label, version in entry.version_labels.items():
        if version not in versions:
            raise InvalidConfig(
                f"model {entry.name}: label {label} is for version {version}, which is not among those served: "
                f"{', '.join(map(str, versions))}"
            )


def _pinned(entry: Any) -> PinnedModel:
    versions = tuple(entry.model_version_policy.specific.versions)
    return PinnedModel(entry.name, entry.base_path, versions, dict(entry.version_labels))


def _message(models: Sequence[PinnedModel]) -> Any:
    message = ModelServerConfig()
    for model in models:
        message.model_config_list.config.add(
            name=model.name,
            base_path=model.base_path,
            model_platform=_PLATFORM,
            model_version_policy={"specific": {"versions": model.versions}},
            version_labels=model.labels,
        )
    return message
