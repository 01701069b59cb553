"""The list of models: what is read, what is refused and why, and which versions a policy picks."""

from __future__ import annotations

import pytest
from filemodels import Shelf
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st
from tensorflow_serving.config import model_server_config_pb2

from vitrine_serving.embedded.errors import Code, ServingError
from vitrine_serving.embedded.models.config import (
    MonitoredModel,
    monitored_models,
    read_config_file,
    single_model_config,
)
from vitrine_serving.embedded.models.policies import All, Latest, Specific, select

LIST = """
model_config_list {
  config { name: "plain" base_path: "/m/plain" model_platform: "tensorflow" }
  config { name: "two" base_path: "gs://bucket/two" model_type: TENSORFLOW
           model_version_policy { latest { num_versions: 2 } } }
  config { name: "every" base_path: "/m/every" model_platform: "tensorflow" model_version_policy { all {} } }
  config { name: "some" base_path: "/m/some" model_platform: "tensorflow"
           model_version_policy { specific { versions: 3 versions: 1 } } version_labels { key: "stable" value: 1 } }
}
"""


def parsed(text: str) -> model_server_config_pb2.ModelServerConfig:
    return text_format.Parse(text, model_server_config_pb2.ModelServerConfig())


def test_a_config_file_as_typed_values(tmp_path):
    path = tmp_path / "models.config"
    path.write_text(LIST)
    config = read_config_file(str(path))
    assert config == parsed(LIST)
    assert monitored_models(config.model_config_list.config) == [
        MonitoredModel("plain", "/m/plain", Latest(0)),
        MonitoredModel("two", "gs://bucket/two", Latest(2)),
        MonitoredModel("every", "/m/every", All()),
        MonitoredModel("some", "/m/some", Specific(frozenset({1, 3}))),
    ]


@pytest.mark.parametrize(
    ("content", "code", "phrase"),
    [
        (b"model_config_list { config { nmae: 'x' } }", Code.INVALID_ARGUMENT, "Invalid protobuf file: '{path}'"),
        (b"model_config_list {", Code.INVALID_ARGUMENT, "Invalid protobuf file: '{path}'"),
        (b"\xff\x00", Code.INVALID_ARGUMENT, "Invalid protobuf file: '{path}'"),
        (None, Code.NOT_FOUND, "{path}"),
    ],
    ids=["unknown-field", "unfinished", "binary", "missing"],
)
def test_a_config_file_that_cannot_be_read(tmp_path, content, code, phrase):
    path = tmp_path / "models.config"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ServingError) as raised:
        read_config_file(str(path))
    assert raised.value.code is code
    assert phrase.format(path=path) in raised.value.message


def test_a_single_model_may_be_given_by_a_relative_path(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for given_path, base_path in [("models/m", f"{tmp_path}/models/m"), ("/m", "/m"), ("gs://b/m", "gs://b/m")]:
        [model] = monitored_models(single_model_config("m", given_path).model_config_list.config)
        assert model == MonitoredModel("m", base_path, Latest(0))


ENTRY = 'config { name: "m" base_path: "/m" model_platform: "tensorflow" }'


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        (f"model_config_list {{ {ENTRY} {ENTRY} }}", "Illegal to list model m multiple times in config list"),
        (
            'model_config_list { config { name: "m" model_platform: "tensorflow" } }',
            "Expected model m to have an absolute path or URI; got base_path()=",
        ),
        (
            'model_config_list { config { name: "m" base_path: "models/m" model_platform: "tensorflow" } }',
            "Expected model m to have an absolute path or URI; got base_path()=models/m",
        ),
        (
            'model_config_list { config { name: "m" base_path: "/m" } }',
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor ModelServerConfig::model_platform",
        ),
        (
            'model_config_list { config { name: "m" base_path: "/m" model_type: TENSORFLOW model_platform: "x" } }',
            "Illegal setting both ModelServerConfig::model_type (deprecated) and ModelServerConfig::model_platform",
        ),
        (
            'model_config_list { config { name: "m" base_path: "/m" model_type: OTHER } }',
            "ModelServerConfig::model_type choice 2 not supported.",
        ),
        (
            'model_config_list { config { name: "m" base_path: "/m" model_platform: "caffe" } }',
            "Model m requests unsupported platform caffe",
        ),
        ("custom_model_config {}", "Invalid ServerModelConfig"),
    ],
)
def test_lists_that_are_refused(tmp_path, text, phrase):
    with Shelf(tmp_path) as shelf, pytest.raises(ServingError) as raised:
        shelf.models().start(parsed(text))
    assert raised.value.code is Code.INVALID_ARGUMENT
    assert phrase in raised.value.message


NAMES = st.one_of(st.integers(-5, 30).map(str), st.integers(0, 30).map("{:03}".format), st.text(max_size=3))


def chosen(policy, *children: str) -> dict[int, str]:
    return select(policy, "m", "/m", children).children


@given(st.sets(NAMES), st.integers(0, 5), st.frozensets(st.integers(-5, 30)))
def test_what_policies_choose(children, count, wanted):
    everything = chosen(All(), *children)
    assert set(everything.values()) <= children
    assert all(int(child) == version for version, child in everything.items())
    latest = chosen(Latest(count), *children)
    assert sorted(latest) == sorted(everything)[-max(count, 1) :]
    specific = select(Specific(wanted), "m", "/m", children)
    assert specific.children == {version: everything[version] for version in wanted & everything.keys()}
    missing = [warning for warning in specific.warnings if "was not found in the file system" in warning]
    assert len(missing) == len(wanted - everything.keys())


def test_names_of_versions():
    assert chosen(All(), "1", "007", "10", "v2", "1.0", "2 ", "0x3", "\u0663", "9" * 19, "3_0", "") == {
        1: "1",
        7: "007",
        10: "10",
        2: "2 ",
    }
    assert chosen(Latest(), str(2**63 - 1), str(2**63)) == {2**63 - 1: str(2**63 - 1)}


def test_of_two_names_for_one_version_the_last_in_order_counts():
    selection = select(Latest(), "m", "/m", ["1", "001"])
    assert selection.children == {1: "1"}
    [warning] = selection.warnings
    assert "Version 1 will be loaded from 1, 001 will be ignored" in warning


def test_nothing_found():
    [warning] = select(Latest(), "m", "/base", ["notes"]).warnings
    assert warning.startswith("No versions of servable m found under base path /base.")
