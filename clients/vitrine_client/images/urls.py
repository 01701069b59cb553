"""What is a URL, and what of it may be shown."""

from __future__ import annotations

import re


def is_url(text: str) -> bool:
    return text[:8].lower().startswith(("http://", "https://"))


def without_credentials(url: str) -> str:
    """The URL without the user and password that may stand in front of its host."""
    return re.sub(r"^([A-Za-z]+://)[^/?#]*@", r"\1", url)
