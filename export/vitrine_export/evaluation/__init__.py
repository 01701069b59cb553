"""How good a network is on pictures that it has not seen."""

from vitrine_export.evaluation.evaluator import evaluate, evaluate_again
from vitrine_export.evaluation.predictions import probabilities_of

__all__ = ["evaluate", "evaluate_again", "probabilities_of"]
