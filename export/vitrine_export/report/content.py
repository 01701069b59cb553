"""What a report is made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vitrine_export.datasets.index import DatasetIndex

if TYPE_CHECKING:
    from vitrine_export.evaluation.examples import Augmented, Example


@dataclass(frozen=True)
class Content:
    name: str
    """Of the run; may be empty."""
    index: DatasetIndex
    preprocessing: str
    augmentation: str
    metrics: dict[str, Any]
    """As evaluate() returns them."""
    history: Mapping[str, Sequence[Any]]
    """Curves per epoch; empty where they are not known."""
    examples: list[Example]
    mistakes: list[Example]
    augmented: list[Augmented]

    @property
    def reliability_after(self) -> list[dict[str, float]] | None:
        """After temperature scaling; None where no temperature was fitted."""
        found: list[dict[str, float]] | None = self.metrics.get("temperature", {}).get("reliability_after")
        return found
