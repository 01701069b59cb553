"""`vitrine-serving config check`: what a file is, and whether TensorFlow Serving would take it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vitrine_serving import cli
from vitrine_serving.config import PinnedModel, ServingConfig, check_file, write_config

ENTRY = 'config { name: "m" base_path: "/m" model_platform: "tensorflow" }'


def checked(path: Path, text: str | bytes) -> str:
    """What is said of a file of that text, without its folder."""
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(check_file(path)).removeprefix(f"{path.parent}/")


def test_what_config_write_writes_is_taken(tmp_path: Path, capsys) -> None:
    write_config(tmp_path, ServingConfig((PinnedModel("digits", "/models/digits", (3,), {"stable": 3}),)))
    files = [str(tmp_path / f"{name}.config") for name in ("models", "monitoring", "batching")]
    cli.main(["config", "check", *files])
    assert capsys.readouterr().out.splitlines() == [
        f"{files[0]}: models: ok",
        f"{files[1]}: monitoring: ok",
        f"{files[2]}: batching: ok",
    ]


def test_one_bad_file_among_good_ones_is_exit_code_1(tmp_path: Path, capsys) -> None:
    good, bad = tmp_path / "good.txt", tmp_path / "bad.txt"
    good.write_text("prometheus_config { enable: true }")
    bad.write_text("model_config_list {\n  config { nmae: 'x' }\n}\n")
    with pytest.raises(SystemExit) as stopped:
        cli.main(["config", "check", "--json", str(good), str(bad)])
    assert stopped.value.code == 1
    printed = capsys.readouterr()
    assert printed.err == "vitrine-serving config: 1 of 2 files would not be taken by TensorFlow Serving\n"
    fine, finding = json.loads(printed.out)
    assert fine == {"file": str(good), "kind": "monitoring", "problem": None, "line": None, "column": None}
    assert (finding["file"], finding["kind"], finding["line"], finding["column"]) == (str(bad), "models", 2, 12)
    assert 'no field named "nmae"' in finding["problem"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("# a list\n\nmodel_config_list: { " + ENTRY + " }", "some.txt: models: ok"),
        ('model_config_list { config { name: "m" base_path: "/m" model_type: TENSORFLOW } }', "some.txt: models: ok"),
        (
            "model_config_list { config { name: 'm' base_path: 's3://b/m' model_platform: 'tensorflow' logging_config "
            "{ sampling_config { sampling_rate: 0.1 } } model_version_policy { all {} } } }",
            "some.txt: models: ok",
        ),
        ("prometheus_config <enable: true>", "some.txt: monitoring: ok"),
        ("allowed_batch_sizes: [2, 4] max_batch_size { value: 4 }", "some.txt: batching: ok"),
    ],
)
def test_the_content_tells_what_it_is(tmp_path: Path, text: str, said: str) -> None:
    assert checked(tmp_path / "some.txt", text) == said


@pytest.mark.parametrize(
    ("name", "text", "start", "phrase"),
    [
        ("my_models.pbtxt", "modle_config_list {}", "my_models.pbtxt:1:1: models: ", "modle_config_list"),
        ("batching.config", "\nmax_batch: 3", "batching.config:2:1: batching: ", "max_batch"),
        ("monitoring.config", "", "monitoring.config: monitoring: ", "the file is empty"),
        ("monitoring.config", b"\n\n# \xff", "monitoring.config:3:3: monitoring: ", "decode"),
        ("models.config", "# nothing", "models.config: models: ", "nothing would be served"),
        ("models.json", '{"models": []}', "models.json: unknown: ", "models, monitoring, batching"),
        ("notes", "hello", "notes: unknown: ", "models, monitoring, batching"),
        ("x", "model_config_list {", "x:1:19: models: ", "Expected"),
        ("x", f"model_config_list {{ {ENTRY} {ENTRY} }}", "x: models: ", "m is listed twice"),
        ("x", "model_config_list { config { } }", "x: models: ", "no name"),
        ("x", "model_config_list { config { name: 'm' base_path: 'm' } }", "x: models: ", "'m' must be absolute"),
        ("x", "model_config_list { config { name: 'm' base_path: '/m' } }", "x: models: ", 'model_platform: "tens'),
        ("x", "custom_model_config {}", "x: models: ", "not supported"),
        ("x", "prometheus_config { path: 'metrics' }", "x: monitoring: ", "slash"),
        ("x", "max_batch_size { value: 0 }", "x: batching: ", "must be positive"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(
    tmp_path: Path, name: str, text: str | bytes, start: str, phrase: str
) -> None:
    said = checked(tmp_path / name, text)
    assert said.startswith(start)
    assert phrase in said
    assert "\n" not in said


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert str(check_file(tmp_path / "none")) == f"{tmp_path}/none: unknown: cannot be read: No such file or directory"
