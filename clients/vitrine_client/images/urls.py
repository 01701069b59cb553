"""What is a URL, and what of it may be shown."""

from __future__ import annotations

import re


def is_url(text: str) -> bool:
    return text[:8].lower().startswith(("http://", "https://"))


def without_credentials(url: str) -> str:
    """The URL without the user and password in front of its host, and without query and fragment: these sign URLs.

    Whatever is no URL stays as it is.
    """
    if not is_url(url):
        return url
    shown = re.sub(r"^([A-Za-z]+://)[^/?#]*@", r"\1", url)
    return re.sub(r"([?#]).+", r"\1...", shown, flags=re.DOTALL)
