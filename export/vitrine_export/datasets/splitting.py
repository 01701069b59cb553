"""Which split a picture belongs to, by its content: the same for every run, whatever other pictures there are."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Mapping

from vitrine_export.datasets.index import SPLITS, SplitName
from vitrine_export.recipe import Split


def shares_of(split: Split, given: Container[SplitName] = ()) -> dict[SplitName, float]:
    """The recipe's shares; where the layout gives some splits, those of the others, in the same proportion."""
    shares: dict[SplitName, float] = {"train": split.train, "validation": split.validation, "test": split.test}
    if not any(name in given for name in SPLITS):
        return shares
    total = sum(share for name, share in shares.items() if name not in given)
    return {name: 0.0 if name in given else share / total for name, share in shares.items()}


def split_of(sha256: str, shares: Mapping[SplitName, float], seed: int) -> SplitName:
    """The split of the content whose SHA-256 in hex is `sha256`."""
    position = int((draw(sha256, f"split {seed}") if seed else sha256)[:16], 16) / 2**64
    if position < shares["train"]:
        return "train"
    # Without a test share, what rounding leaves over is validation too.
    return "validation" if position < shares["train"] + shares["validation"] or not shares["test"] else "test"


def draw(sha256: str, purpose: str) -> str:
    """A hash of the content for one purpose: in the order of these, pictures are shuffled the same way every time."""
    return hashlib.sha256(f"{purpose} {sha256}".encode()).hexdigest()
