"""A candidate's copy of a version: another batch in its graph, the same answers, and the store as it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from in_graph_batches import SIZES, exported
from tensorflow.core.protobuf import saved_model_pb2

from vitrine_serving.config.batching import parse_batching
from vitrine_serving.errors import CommandError
from vitrine_serving.tune.candidates import Batching, Candidate, Grid, Threads
from vitrine_serving.tune.copies import BATCHING, SAVED_MODEL, Copies
from vitrine_serving.tune.graph import graph_batching, with_batching

v1 = tf.compat.v1
THREADS = Threads(1, 2)
EXPORTED = Batching(8, 0, 4, 1000, SIZES)


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(tmp_path_factory.mktemp("store") / "model" / "3")


def answers(version: Path, rows: int) -> dict[str, tuple[list[float], list[int]]]:
    """By signature: the answers, and how many rows each was computed with. Loaded as servers do."""
    found = {}
    with v1.Session(graph=tf.Graph()) as session:
        signatures = v1.saved_model.load(session, ["serve"], str(version)).signature_def
        for name in ("one", "other"):
            fetches = {alias: output.name for alias, output in signatures[name].outputs.items()}
            said = session.run(fetches, {signatures[name].inputs["x"].name: np.arange(rows, dtype=np.float32)})
            found[name] = said["y"].tolist(), said["rows"].tolist()
    return found


def test_what_the_export_says_is_read_from_the_graph(version: Path) -> None:
    assert graph_batching((version / SAVED_MODEL).read_bytes()) == EXPORTED


def test_a_candidate_batches_as_it_says_and_answers_the_same(version: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in version.rglob("*") if path.is_file()}
    candidate = Candidate("in-graph", Batching(2, 500, 3, 70, (1, 2)), THREADS)
    base_path = Copies(version, tmp_path, with_batching).base_path(candidate)
    assert graph_batching((base_path / "3" / SAVED_MODEL).read_bytes()) == candidate.batching
    original, changed = answers(version, 5), answers(base_path / "3", 5)
    assert set(changed) == {"one", "other"}
    for name, (y, rows) in changed.items():
        assert y == original[name][0] == [1.0, 1.5, 2.0, 2.5, 3.0]
        assert original[name][1] == [8] * 5
        # More rows than fit are split, as before.
        assert rows == [2, 2, 2, 2, 1]
    assert {path: path.read_bytes() for path in version.rglob("*") if path.is_file()} == before


def test_how_batches_are_filled_is_read_and_stays(tmp_path: Path) -> None:
    version = exported(tmp_path / "model" / "3", policy="BATCH_DOWN")
    present = Candidate("as exported", graph_batching((version / SAVED_MODEL).read_bytes()), THREADS)
    assert present.batching == replace(EXPORTED, padding_policy="BATCH_DOWN")
    tried = Grid(["in-graph"], [8], [0], [4], [THREADS]).candidates(present)
    base_path = Copies(version, tmp_path, with_batching).base_path(tried[0])
    assert graph_batching((base_path / "3" / SAVED_MODEL).read_bytes()) == tried[0].batching


def test_a_batch_of_defaults_neither_splits_nor_pads_afterwards(tmp_path: Path) -> None:
    version = exported(tmp_path / "version", splits=False)
    assert graph_batching((version / SAVED_MODEL).read_bytes()) == Batching(8, 0, 4, 10)
    changed = with_batching((version / SAVED_MODEL).read_bytes(), Batching(16, 0, 1, 20, (1, 2, 4, 8, 16)))
    (version / SAVED_MODEL).write_bytes(changed)
    assert graph_batching(changed) == Batching(16, 0, 1, 20)
    assert answers(version, 11)["one"][1] == [11] * 11


def test_nothing_but_the_batch_changes(version: Path) -> None:
    content = (version / SAVED_MODEL).read_bytes()
    once = with_batching(content, Batching(2, 500, 3, 70, (1, 2)))
    same = saved_model_pb2.SavedModel.FromString(with_batching(once, EXPORTED))
    assert same == saved_model_pb2.SavedModel.FromString(content)
    assert same != saved_model_pb2.SavedModel.FromString(once)


def test_a_server_side_candidate_is_the_version_as_it_is_and_a_file(version: Path, tmp_path: Path) -> None:
    candidate = Candidate("server-side", Batching(16, 1000, 2), THREADS)
    base_path = Copies(version, tmp_path, with_batching).base_path(candidate)
    assert (base_path / "3" / SAVED_MODEL).read_bytes() == (version / SAVED_MODEL).read_bytes()
    assert (base_path / "3" / "variables" / "variables.index").samefile(version / "variables" / "variables.index")
    parameters = parse_batching((base_path / BATCHING).read_bytes())
    assert (parameters.max_batch_size, parameters.batch_timeout_micros, parameters.num_batch_threads) == (16, 1000, 2)


def test_a_graph_without_a_batch_has_none(written_models: Path) -> None:
    assert graph_batching((written_models / "plus_two" / SAVED_MODEL).read_bytes()) is None


def test_what_is_no_model_is_said_to_be_none() -> None:
    with pytest.raises(CommandError, match=r"saved_model\.pb cannot be read"):
        graph_batching(b"no model")
