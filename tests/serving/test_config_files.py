"""The configuration files by the API: TensorFlow Serving's own messages read the same values from them."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from vitrine_serving.config import (
    BatchingParameters,
    BatchingSettings,
    PinnedModel,
    ServingConfig,
    messages,
    read_models,
    write_config,
)
from vitrine_serving.config.batching import parse_batching
from vitrine_serving.embedded.metrics.monitoring_config import MonitoringConfig, read_monitoring_config
from vitrine_serving.embedded.models.config import MonitoredModel, monitored_models, read_config_file
from vitrine_serving.embedded.models.policies import Specific
from vitrine_serving.errors import CommandError

DIGITS = PinnedModel("digits", "/models/digits", (3,), {"stable": 3})
CANARY = PinnedModel("flowers", "gs://bucket/flowers", (7, 8), {"stable": 7, "canary": 8})


def official_models(path: Path) -> model_server_config_pb2.ModelServerConfig:
    return text_format.Parse(path.read_text(), model_server_config_pb2.ModelServerConfig())


def test_the_official_messages_read_the_same_values(tmp_path: Path) -> None:
    written = write_config(tmp_path, ServingConfig((DIGITS, CANARY)))
    assert written[-1].name == "models.config"
    digits, flowers = official_models(tmp_path / "models.config").model_config_list.config
    assert (digits.name, digits.base_path, digits.model_platform) == ("digits", "/models/digits", "tensorflow")
    assert list(digits.model_version_policy.specific.versions) == [3]
    assert dict(digits.version_labels) == {"stable": 3}
    assert list(flowers.model_version_policy.specific.versions) == [7, 8]
    assert dict(flowers.version_labels) == {"stable": 7, "canary": 8}
    assert read_monitoring_config(str(tmp_path / "monitoring.config")) == MonitoringConfig(
        True, "/monitoring/prometheus/metrics"
    )
    assert monitored_models(read_config_file(str(tmp_path / "models.config")).model_config_list.config) == [
        MonitoredModel("digits", "/models/digits", Specific(frozenset({3}))),
        MonitoredModel("flowers", "gs://bucket/flowers", Specific(frozenset({7, 8}))),
    ]


def test_our_message_has_the_official_fields() -> None:
    official = model_server_config_pb2.ModelServerConfig.DESCRIPTOR
    assert fields(messages.ModelServerConfig.DESCRIPTOR) == fields(official)


def fields(descriptor) -> dict:
    """Number, type and oneof by name, of the messages within too."""
    return {
        field.name: (
            field.number,
            field.type,
            field.is_repeated,
            _oneof(field),
            fields(field.message_type) if field.message_type else None,
            sorted(field.enum_type.values_by_name) if field.enum_type else None,
        )
        for field in descriptor.fields
    }


def _oneof(field) -> str | None:
    """An optional field has one of its own, which text does not show."""
    oneof = field.containing_oneof
    return oneof.name if oneof and len(oneof.fields) > 1 else None


def test_what_is_written_can_be_read_changed_and_written_again(tmp_path: Path) -> None:
    write_config(tmp_path, ServingConfig((DIGITS, CANARY)))
    models = read_models(tmp_path / "models.config")
    assert models == (DIGITS, CANARY)
    promoted = PinnedModel("flowers", "gs://bucket/flowers", (8,), {"stable": 8})
    write_config(tmp_path, ServingConfig((models[0], promoted)))
    assert read_models(tmp_path / "models.config") == (DIGITS, promoted)
    assert (tmp_path / "pinned").read_text() == "digits 3\nflowers 8\n"


@pytest.mark.parametrize(
    ("fields", "phrase"),
    [
        ("", "not just pinned"),
        ("model_version_policy { latest { num_versions: 2 } }", "not just pinned"),
        ("model_version_policy { specific { versions: 1 } } logging_config { }", "not just pinned"),
        ("model_version_policy { specific { } }", "names no version"),
        ("model_version_policy { specific { versions: 1 versions: } }", r"models\.config:1:\d+: "),
    ],
)
def test_a_list_that_would_lose_something_is_not_read(tmp_path: Path, fields: str, phrase: str) -> None:
    path = tmp_path / "models.config"
    entry = f'name: "m" base_path: "/m" model_platform: "tensorflow" {fields}'
    path.write_text(f"model_config_list {{ config {{ {entry} }} }}")
    with pytest.raises(CommandError, match=phrase):
        read_models(path)


def test_no_list_at_all(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"models\.config: No such file.*vitrine-serving config write"):
        read_models(tmp_path / "models.config")


@pytest.mark.parametrize(
    ("models", "phrase"),
    [
        ((), "no model is listed"),
        ((DIGITS, DIGITS), "digits is listed twice"),
        ((PinnedModel("m", "models/m", (1,)),), "must be absolute"),
        ((PinnedModel("m", "/models/m", ()),), "names no version"),
        ((PinnedModel("m", "/models/m", (1,), {"stable": 2}),), "label stable is for version 2"),
        ((PinnedModel("m/n", "/models/m", (1,)),), "'m/n' is not a model name"),
        ((PinnedModel("m", "/models/m", (1,), {"": 1}),), "'' is not a label"),
    ],
)
def test_what_the_server_would_refuse_is_not_written(
    tmp_path: Path, models: tuple[PinnedModel, ...], phrase: str
) -> None:
    with pytest.raises(CommandError, match=phrase):
        write_config(tmp_path / "out", ServingConfig(models))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (BatchingSettings(), BatchingParameters(max_batch_size=128, max_enqueued_batches=1000)),
        (
            BatchingSettings(16, 2000, 50, 3, (4, 8, 16)),
            BatchingParameters(16, 2000, 50, 3, allowed_batch_sizes=(4, 8, 16)),
        ),
        (
            BatchingSettings(allowed_batch_sizes=(4, 8)),
            BatchingParameters(8, max_enqueued_batches=1000, allowed_batch_sizes=(4, 8)),
        ),
    ],
)
def test_batching_parameters(tmp_path: Path, settings: BatchingSettings, expected: BatchingParameters) -> None:
    write_config(tmp_path, ServingConfig((DIGITS,), settings))
    assert parse_batching((tmp_path / "batching.config").read_bytes()) == expected
