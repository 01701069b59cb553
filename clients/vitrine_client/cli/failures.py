"""What went wrong, in the words of a command line: options for arguments, and nobody's password."""

from __future__ import annotations

import argparse

from vitrine_client.cli import connection
from vitrine_client.errors import VitrineError

_WORDS = {
    "check='off'": "--check off",
    "allow_urls=True": "--allow-urls",
    "TLS(server_name=...)": "--tls-server-name",
    ", or None": "",
    "read it yourself and give the bytes": "save what it gives as a file",
}


def told(error: VitrineError, options: argparse.Namespace) -> str:
    """An error's message for somebody who has never seen the library."""
    text = str(error)
    # A server's words are its own.
    if not error.server_message:
        for word, ours in _WORDS.items():
            text = text.replace(word, ours)
        if not hasattr(options, "check"):
            text = text.replace(", or --check off to send any bytes as they are", "")
    return connection.without_passwords(text, options)
