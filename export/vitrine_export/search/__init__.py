"""Hyperparameter search: what a recipe's `search` section says is tried, and the best of it is what to train.

A search lives in one folder and goes on from there after any end: finished trials are kept, the one that was running
is run again. The command's process decides what is tried and keeps the books; worker processes train.
"""

from vitrine_export.search.outcome import Outcome
from vitrine_export.search.searching import search

__all__ = ["Outcome", "search"]
