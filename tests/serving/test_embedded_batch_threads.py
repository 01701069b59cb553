"""Threads of in-graph batches: no more than are of use, for each of them wakes a thousand times a second."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

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
