"""An evaluation as one HTML file that needs nothing else: no network, no folder beside it."""

from vitrine_export.report.content import Content
from vitrine_export.report.page import render, write

__all__ = ["Content", "render", "write"]
