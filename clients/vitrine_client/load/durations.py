"""Times as people write them: 500ms, 30s, 5m, 1h30m."""

from __future__ import annotations

import re

from vitrine_client.errors import InvalidInput

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")


def seconds_of(text: str, option: str) -> float:
    """Seconds, more than none. A number alone is in seconds. Raises InvalidInput, naming `option`."""
    parts = _PART.findall(text)
    if "".join(number + unit for number, unit in parts) == text and text:
        seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    elif re.fullmatch(r"\d+(?:\.\d+)?", text):
        seconds = float(text)
    else:
        raise InvalidInput(f"{option}: {text!r} is no time, such as 500ms, 30s, 5m or 1h30m")
    if not 0 < seconds < 1e8:
        raise InvalidInput(f"{option}: {text!r} is not a time of more than nothing and less than three years")
    return seconds
