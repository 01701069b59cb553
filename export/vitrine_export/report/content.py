"""What a report is made from, and the figures that are files beside it too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from vitrine_export import plots
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

    @cached_property
    def reliability(self) -> plots.Drawing:
        """As trained, and with the temperature where one was fitted."""
        scaled = self.metrics.get("temperature", {}).get("reliability_after")
        return plots.Drawing(partial(plots.reliability, self.metrics["reliability"], scaled))

    @cached_property
    def confusion(self) -> plots.Drawing:
        return plots.Drawing(partial(plots.confusion, self.metrics["confusion_matrix"], self.index.labels))

    @cached_property
    def distribution(self) -> plots.Drawing:
        return plots.Drawing(partial(plots.class_distribution, self.index))
