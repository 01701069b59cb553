"""The text of `--help`."""

from __future__ import annotations

import textwrap
from dataclasses import MISSING, Field, fields
from typing import Any

from vitrine_serving.embedded.flags.groups import GROUPS, kinds_of
from vitrine_serving.embedded.flags.kinds import Kind

PROGRAM = "vitrine-model-server"

_HEAD = f"""usage: {PROGRAM} --model_base_path=PATH [--flag=value ...]

Serves SavedModels with TensorFlow Serving's gRPC and REST APIs. It takes TensorFlow Serving's flags, shown
here with their defaults; a switch alone means true; of a flag given twice, the last counts.

  --help     show this text and stop
  --version  show the version and stop
"""

_EXAMPLES = f"""examples:
  {PROGRAM} --model_name=flowers --model_base_path=models/flowers
  {PROGRAM} --port=8500 --rest_api_port=8501 --model_name=flowers --model_base_path=models/flowers
  {PROGRAM} --rest_api_port=8501 --model_config_file=models.config --model_config_file_poll_wait_seconds=10

The base path holds one directory for each version, named by its number (models/flowers/1). The highest
is served; a higher one put beside it takes over without a failed request. SIGTERM finishes what is in
flight and exits with code 0.

exit codes: 0 stopped by a signal, 1 could not start, 2 wrong usage
"""


def usage() -> str:
    """Every flag with its default, by group, and examples."""
    return "\n".join([_HEAD, *(_group(title, group) for title, group in GROUPS.items()), _EXAMPLES])


def _group(title: str, group: type) -> str:
    kinds = kinds_of(group)
    return f"{title}:\n" + "".join(_flag(field, kinds[field.name]) for field in fields(group))


def _flag(field: Field[Any], kind: Kind) -> str:
    default = field.default if field.default_factory is MISSING else field.default_factory()
    help_lines = textwrap.fill(kind.help, 100, initial_indent=" " * 8, subsequent_indent=" " * 8)
    return f"  --{field.name}={_shown(default) or kind.placeholder}\n{help_lines}\n"


def _shown(default: Any) -> str:
    if default is None:
        return ""
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, tuple):
        return ",".join(default)
    return f"{default:g}" if isinstance(default, float) else str(default)
