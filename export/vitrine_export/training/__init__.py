"""Training: stages of epochs on the devices at hand, which an interruption does not undo."""

from vitrine_export.training.fitting import fit
from vitrine_export.training.run import train

__all__ = ["fit", "train"]
