"""The server's flags: TensorFlow Serving's own names, and a few of ours."""

from vitrine_serving.embedded.flags.groups import Flags
from vitrine_serving.embedded.flags.parser import parse

__all__ = ["Flags", "parse"]
