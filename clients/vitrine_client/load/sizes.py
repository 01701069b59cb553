"""A mix of picture sizes: `320:70,1600:25,as-is:5`, longer side in pixels and share."""

from __future__ import annotations

import dataclasses
import io
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from PIL import Image

from vitrine_client.errors import InvalidInput
from vitrine_client.load.samples import Sample

_UNCHANGED = "as-is"
_PART = re.compile(rf"(\d{{1,5}}|{_UNCHANGED}):(\d+(?:\.\d+)?)")
_EXAMPLE = f"such as 320:70,1600:25,{_UNCHANGED}:5: longer sides in pixels, and their shares"
# Larger ones than any camera's are refused by Pillow, and by servers.
_LONGEST = 16_384
# Cameras' and phones' JPEGs are about as large for their pixels.
_QUALITY = 90
# Of one size: decoded and encoded again before a run begins, and kept in memory.
_MOST_OF_A_SIZE = 32


@dataclass(frozen=True)
class Size:
    """Pictures whose longer side has `side` pixels, None for unchanged ones; `share` of all, in any unit."""

    side: int | None
    share: float


@dataclass(frozen=True)
class Group:
    """The pictures of one size."""

    samples: Sequence[Sample]
    share: float


AS_IS = Size(None, 1.0)


def parse(text: str) -> list[Size]:
    """Raises InvalidInput for anything else than `SIDE:SHARE`, with commas in between."""
    sizes = []
    for part in text.split(","):
        found = _PART.fullmatch(part.strip())
        if not found or float(found[2]) <= 0:
            raise InvalidInput(f"--sizes: {part.strip()!r} is no size with a share, {_EXAMPLE}")
        side = None if found[1] == _UNCHANGED else int(found[1])
        if side is not None and not 1 <= side <= _LONGEST:
            raise InvalidInput(f"--sizes: {part.strip()!r}: a side has 1 to {_LONGEST} pixels, {_EXAMPLE}")
        sizes.append(Size(side, float(found[2])))
    return sizes


def scaled(samples: Sequence[Sample], sizes: Sequence[Size]) -> list[Group]:
    """The pictures in each size, as JPEG where they had another one; of each such size, up to 32 of them.

    The right answers to a picture of another size are not known. Raises InvalidInput for one that cannot be scaled.
    """
    return [Group(_to_side(samples, size.side), size.share) for size in sizes]


def mixed(groups: Sequence[Group]) -> Iterator[Sample]:
    """Samples without end, of each group as often as its share says within any few of them."""
    turns = [itertools.cycle(group.samples) for group in groups]
    total = sum(group.share for group in groups)
    # Smooth weighted round robin, as nginx has it for its upstreams.
    credit = [0.0] * len(groups)
    while True:
        credit = [owned + group.share for owned, group in zip(credit, groups, strict=True)]
        turn = max(range(len(groups)), key=credit.__getitem__)
        credit[turn] -= total
        yield next(turns[turn])


def _to_side(samples: Sequence[Sample], side: int | None) -> list[Sample]:
    if side is None:
        return list(samples)
    return [_resized(sample, side) for sample in samples[:: -(-len(samples) // _MOST_OF_A_SIZE)]]


def _resized(sample: Sample, side: int) -> Sample:
    try:
        with Image.open(io.BytesIO(sample.content)) as opened:
            if max(opened.size) == side:
                return sample
            width, height = (max(1, round(length * side / max(opened.size))) for length in opened.size)
            picture = opened.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise InvalidInput(f"--sizes: {sample.path} cannot be scaled: {error}") from error
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=_QUALITY)
    return dataclasses.replace(sample, content=buffer.getvalue(), labels=frozenset())
