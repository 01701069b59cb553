"""The same picture in other bytes: re-encoded, resized, or with other brightness and contrast.

Pictures are compared by the brightness changes between neighbouring cells of a 16x16 grid, the numbers whose signs
make a difference hash, but by their correlation. Measured on 783 photos: different ones stay below 0.75; copies of
half or a quarter of the size, saved with less quality, are above 0.985 in at least 96 of 100 cases where the recipe
resizes to 96 pixels or more, in fewer where it resizes to less without antialias. Of 1.6 million pairs of scanned
digits of 8x8 pixels, the hardest case, one is above. Crops, mirrored and rotated copies are not found.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from tqdm import tqdm

from vitrine_export.datasets.index import SPLITS, Picture

_ALIKE = 0.985
# In grey values: a blank page looks like every other blank page.
_LEAST_CHANGE = 0.5
# 256 rows against 25,000 pictures are 26 MB.
_ROWS = 256


def look_alikes(pictures: Sequence[Picture], thumbnails: Sequence[np.ndarray]) -> dict[int, int]:
    """Numbers of pictures that look like one of another label, or of a split nearer to the test, each with that one's.

    `thumbnails`: of each picture, float32 [16, 16] in [0, 255]. A training picture is found by its copy
    in the validation or test split, not the other way round; of two labels each finds the other. 25,000 pictures take
    12 seconds of one core.
    """
    if not pictures:
        return {}
    labels = np.unique([picture.label for picture in pictures], return_inverse=True)[1]
    splits = np.array([SPLITS.index(picture.split) for picture in pictures])
    changes = _changes(np.stack(thumbnails))
    found: dict[int, int] = {}
    for rows in _blocks(len(pictures)):
        alike = changes[rows] @ changes.T >= _ALIKE
        # Almost every picture is like itself alone.
        for row in np.flatnonzero(np.count_nonzero(alike, axis=1) > 1):
            number = rows.start + int(row)
            others = np.flatnonzero(alike[row])
            worse = others[(labels[others] != labels[number]) | (splits[others] > splits[number])]
            if worse.size:
                found[number] = int(worse[0])
    return found


def _blocks(count: int) -> Iterator[slice]:
    bar = tqdm(range(0, count, _ROWS), "looking for copies", unit="block", delay=2)
    return (slice(start, start + _ROWS) for start in bar)


def _changes(thumbnails: np.ndarray) -> np.ndarray:
    """Brightness changes to the right and downwards, float32 [n, 480], each row of length 1, or 0 for a blank one."""
    count = len(thumbnails)
    changes = np.concatenate([np.diff(thumbnails, axis=axis).reshape(count, -1) for axis in (1, 2)], axis=1)
    size = np.sqrt(np.mean(changes**2, axis=1, keepdims=True))
    changes[size[:, 0] < _LEAST_CHANGE] = 0
    length = np.linalg.norm(changes, axis=1, keepdims=True)
    return np.asarray(changes / np.maximum(length, 1e-6), np.float32)
