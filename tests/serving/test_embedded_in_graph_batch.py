"""In-graph batches on a CPU: no more threads and no more rows at once than are of use, for both cost while they rest.

A thread wakes a thousand times a second, and the memory of the largest batch is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from embedded_server import running_server
from in_graph_batches import exported

from vitrine_serving.embedded.inference.saved_model import SessionOptions, load_saved_model


def test_a_batch_has_as_many_threads_as_told_and_no_more_than_it_was_exported_with(
    digits_store: Path, encode: Callable[..., bytes]
) -> None:
    version = digits_store / "digits" / "1"
    picture = np.array([encode("L")], object)

    def new_threads(batch_threads: int) -> int:
        model = load_saved_model(str(version), SessionOptions(1, 1, batch_threads=batch_threads))
        before = set(Path("/proc/self/task").iterdir())
        assert model.run("", {"image_bytes": picture})["labels"].shape == (1, 5)
        made = set(Path("/proc/self/task").iterdir()) - before
        model.close()
        return len(made)

    # Whatever TensorFlow makes once for all.
    new_threads(0)
    unlimited = new_threads(0)
    assert unlimited - new_threads(1) == 3
    assert new_threads(100) == unlimited


@pytest.mark.parametrize(("flags", "together"), [((), 4), (("--max_cpu_batch_size=0",), 8)])
def test_a_server_on_a_cpu_runs_small_batches_unless_told_otherwise(
    tmp_path: Path, flags: tuple[str, ...], together: int
) -> None:
    version = exported(tmp_path / "model" / "1")
    with running_server(version.parent, tmp_path / "server.log", *flags) as server:
        response = server.predict({"x": np.arange(16, dtype=np.float32)}, "one")
    assert tf.make_ndarray(response.outputs["rows"]).tolist() == [together] * 16
    assert tf.make_ndarray(response.outputs["y"]).tolist() == [1 + row / 2 for row in range(16)]


def rows_together(version: Path, batch_rows: int) -> list[int]:
    """What each of a request's eight rows was told."""
    model = load_saved_model(str(version), SessionOptions(1, 1, batch_rows=batch_rows))
    try:
        rows: list[int] = model.run("one", {"x": np.arange(8, dtype=np.float32)})["rows"].tolist()
        return rows
    finally:
        model.close()


def test_a_batch_without_an_allowed_size_that_small_stays_as_it_is(tmp_path: Path) -> None:
    version = exported(tmp_path / "version")
    assert rows_together(version, 3) == [8] * 8
    assert rows_together(version, 7) == [4] * 8


def test_a_batch_that_does_not_split_requests_takes_them_whole(tmp_path: Path) -> None:
    assert rows_together(exported(tmp_path / "version", splits=False), 4) == [8] * 8


def test_a_batch_without_allowed_sizes_stays_as_it_is(tmp_path: Path) -> None:
    assert rows_together(exported(tmp_path / "version", sizes=()), 4) == [8] * 8


@pytest.mark.parametrize("enqueued", [1, 2**31 - 1])
def test_as_many_rows_may_wait_for_smaller_batches(tmp_path: Path, enqueued: int) -> None:
    version = exported(tmp_path / "version", enqueued=enqueued)
    assert rows_together(version, 4) == [4] * 8
