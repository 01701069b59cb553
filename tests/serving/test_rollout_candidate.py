"""Which versions of a store may be rolled out, and what is said of those that may not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import fsspec
import pytest
from embedded_server import MODEL
from rollout_versions import GOLDEN, LABELS, MANIFEST, Network, publish

from vitrine_serving.errors import CommandError
from vitrine_serving.rollout.candidate import check_candidate
from vitrine_serving.rollout.version_store import Candidate, read_version


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one good version, 1. Read only."""
    store = tmp_path_factory.mktemp("written")
    publish(store, 1)
    return store


@pytest.fixture
def store(written: Path, tmp_path: Path) -> Path:
    """Versions 1 and 2, good ones, to be changed at will."""
    for version in (1, 2):
        shutil.copytree(written / MODEL / "1", tmp_path / "models" / MODEL / str(version))
    return tmp_path / "models"


def change(store: Path, **parts: Any) -> None:
    """Give the manifest of version 2 other parts."""
    file = store / MODEL / "2" / MANIFEST
    file.write_text(json.dumps({**json.loads(file.read_text()), **parts}))


def signatures(store: Path) -> dict[str, Any]:
    return json.loads((store / MODEL / "2" / MANIFEST).read_text())["signatures"]


def read(store: Path, version: int = 2) -> Candidate:
    return read_version(str(store), MODEL, version)


def test_a_version_is_read_with_its_labels_signatures_and_golden_pictures(store: Path) -> None:
    candidate = read(store)
    assert candidate.complete and candidate.blessed and candidate.described
    assert candidate.labels == LABELS
    assert candidate.signatures["probabilities"].outputs["probabilities"].dtype == "float32"
    assert candidate.signatures["probabilities"].inputs["image_bytes"].shape == (None,)
    first = candidate.golden[0]
    assert first.content == (store / MODEL / "2" / first.name).read_bytes()
    assert first.probabilities[0] > 0.5 and sum(first.probabilities) == pytest.approx(1)


def test_a_version_that_the_exporter_published_may_be_rolled_out(digits_store: Path) -> None:
    candidate = read_version(str(digits_store), "digits", 1)
    assert check_candidate(candidate, candidate, force=False) == []
    assert len(candidate.labels) == 10 and candidate.golden and "classify" in candidate.signatures


def test_a_store_may_be_any_address_that_fsspec_knows(store: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.put(str(store), "/bucket/models", recursive=True)
    try:
        there = read_version("memory://bucket/models/", MODEL, 2)
        missing = read_version("memory://bucket/models", MODEL, 7)
    finally:
        memory.rm("/bucket", recursive=True)
    here = read_version(f"file://{store}", MODEL, 2)
    assert there.complete and there.golden == here.golden == read(store).golden
    assert missing.incomplete_reason == "there is no such version; the newest there: 1, 2"


@pytest.mark.parametrize("force", [False, True])
def test_a_version_that_is_not_there_is_refused_even_if_forced(store: Path, force: bool) -> None:
    with pytest.raises(CommandError, match=r"model/9: there is no such version; the newest there: 1, 2; publish"):
        check_candidate(read(store, 9), read(store, 1), force)


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("name", ["saved_model.pb", "variables/variables.index", f"{GOLDEN}/001.png"])
def test_a_version_that_is_still_being_copied_is_refused_even_if_forced(store: Path, name: str, force: bool) -> None:
    (store / MODEL / "2" / name).unlink()
    with pytest.raises(CommandError, match=rf"model/2: .*{name}"):
        check_candidate(read(store), read(store, 1), force)


def test_all_that_clients_would_notice_is_told_at_once(store: Path) -> None:
    described = signatures(store)
    described["serving_default"]["outputs"]["scores"]["dtype"] = "float64"
    described["serving_default"]["inputs"]["image_bytes"]["shape"] = [None, None]
    described["serving_default"]["inputs"]["size"] = {"dtype": "int32", "shape": []}
    del described["probabilities"]
    labels = ["red", "green", "violet"]
    change(store, labels=labels, signatures=described, blessing=None)
    with pytest.raises(CommandError) as refused:
        check_candidate(read(store), read(store, 1), force=False)
    for part in (
        "it is not blessed",
        "labels of stable that it does not have: 'blue'",
        "output 'scores' of signature 'serving_default' is float64 [?, 3] where stable has float32 [?, 3]",
        "input 'image_bytes' of signature 'serving_default' is string [?, ?] where stable has string [?]",
        "input 'size' of signature 'serving_default' is new",
        "it has no signature 'probabilities', which stable has",
        "--force",
    ):
        assert part in str(refused.value)
    overridden = check_candidate(read(store), read(store, 1), force=True)
    assert sum(line.startswith("overridden: ") for line in overridden) == 6


def test_added_labels_and_outputs_are_noted_and_no_hindrance(store: Path) -> None:
    described = signatures(store)
    described["serving_default"]["outputs"]["labels"]["shape"] = [None, 4]
    described["serving_default"]["outputs"]["certainty"] = {"dtype": "float32", "shape": [None]}
    change(store, labels=["amber", *LABELS], signatures=described, golden=[])
    notes = check_candidate(read(store), read(store, 1), force=False)
    assert [note.split(":")[0] for note in notes] == [
        "it has no golden pictures",
        "labels that stable does not have",
        "labels have other positions than stable's",
        "output 'labels' of signature 'serving_default' is string [?, 4] where stable has string [?, 3]",
    ]


def test_a_version_without_a_manifest_takes_force(store: Path) -> None:
    (store / MODEL / "2" / MANIFEST).unlink()
    with pytest.raises(CommandError, match="it has no manifest"):
        check_candidate(read(store), None, force=False)
    assert "overridden: it has no manifest" in check_candidate(read(store), None, force=True)[0]


def test_a_stable_version_that_is_gone_from_the_store_could_not_come_back(store: Path) -> None:
    shutil.rmtree(store / MODEL / "1")
    with pytest.raises(CommandError, match=r"there would be no way back: .*no such version"):
        check_candidate(read(store), read(store, 1), force=False)


@pytest.mark.parametrize("name", ["../1/saved_model.pb", "/etc/hostname", "assets.extra/../../1/saved_model.pb", ""])
def test_a_golden_picture_may_not_lie_outside_of_its_version(store: Path, name: str) -> None:
    change(store, golden=[{"file": name, "probabilities": [1, 0, 0]}])
    with pytest.raises(CommandError, match=r"lies outside of the version\); publish"):
        read(store)


def test_a_golden_picture_may_not_be_a_link_to_somewhere_else(store: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("a secret")
    (store / MODEL / "2" / GOLDEN / "000.png").unlink()
    (store / MODEL / "2" / GOLDEN / "000.png").symlink_to(secret)
    with pytest.raises(CommandError, match="lies outside of the version"):
        read(store)


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({"labels": "red"}, "labels is no list"),
        ({"labels": [1, 2, 3]}, "a label is no text"),
        ({"signatures": {"serving_default": {"inputs": {}}}}, "'outputs'"),
        ({"golden": [{"file": f"{GOLDEN}/000.png"}]}, "'probabilities'"),
        ({"golden": [{"file": f"{GOLDEN}/000.png", "probabilities": [0.5, 0.5]}]}, "not one probability for each"),
        ({"golden": [{"file": f"{GOLDEN}/999.png", "probabilities": [1, 0, 0]}]}, "999.png is not there"),
        ({"golden": [{}] * 1001}, "1000 are the most"),
    ],
)
def test_a_manifest_that_no_export_wrote_is_refused(store: Path, parts: dict[str, Any], reason: str) -> None:
    change(store, **parts)
    with pytest.raises(CommandError, match=reason) as refused:
        read(store)
    assert str(store / MODEL / "2") in str(refused.value)


def test_a_manifest_that_is_no_json_is_refused(store: Path) -> None:
    (store / MODEL / "2" / MANIFEST).write_text("[" * 100_000)
    with pytest.raises(CommandError, match=r"manifest\.json cannot be used"):
        read(store)


def test_a_file_as_large_as_no_picture_is_not_read(store: Path) -> None:
    with (store / MODEL / "2" / GOLDEN / "000.png").open("r+b") as file:
        file.truncate((32 << 20) + 1)
    with pytest.raises(CommandError, match=r"000\.png has more than 33554432 bytes"):
        read(store)


@pytest.mark.parametrize(
    ("address", "protocol_package"), [("gs://bucket/models", "gcsfs"), ("s3://bucket/models", "s3fs")]
)
def test_a_store_whose_package_is_missing_says_what_to_install(address: str, protocol_package: str) -> None:
    try:
        __import__(protocol_package)
    except ImportError:
        pass
    else:
        pytest.skip(f"{protocol_package} is installed here")
    with pytest.raises(CommandError, match=f"{address}/model/1: .*pip install {protocol_package}"):
        read_version(address, MODEL, 1)


def test_a_store_that_cannot_be_reached_is_told_with_its_address() -> None:
    with pytest.raises(CommandError, match=r"nowhere://bucket/model/1: cannot be read: .*nowhere.*; check"):
        read_version("nowhere://bucket", MODEL, 1)


def test_a_model_name_that_leads_out_of_the_store_is_refused(store: Path) -> None:
    with pytest.raises(CommandError, match="is not a model name"):
        read_version(str(store), "../secret", 1)


def test_a_version_whose_network_changed_alone_needs_no_word(store: Path) -> None:
    shutil.rmtree(store / MODEL / "2")
    publish(store, 2, Network((0.1, 0.0, 0.0)))
    assert check_candidate(read(store), read(store, 1), force=False) == []
