"""Pictures of a training run. Drawn without a display, so they work on any machine."""

from vitrine_export.plots.classes import class_distribution
from vitrine_export.plots.curves import best_epoch, curve, curves
from vitrine_export.plots.drawing import FINE_DPI, Drawing, Theme, png
from vitrine_export.plots.grids import augmented_samples, prediction_grid
from vitrine_export.plots.matrices import confusion
from vitrine_export.plots.reliabilities import reliability

NAMES = (
    "curves.png",
    "confusion_matrix.png",
    "reliability.png",
    "classes.png",
    "predictions.png",
    "mistakes.png",
    "augmented.png",
)
"""All that an evaluation may write; those that there is nothing for are left out."""

__all__ = [
    "FINE_DPI",
    "NAMES",
    "Drawing",
    "Theme",
    "augmented_samples",
    "best_epoch",
    "class_distribution",
    "confusion",
    "curve",
    "curves",
    "png",
    "prediction_grid",
    "reliability",
]
