"""One JSON line for each request."""

from __future__ import annotations

import json
import logging
import logging.handlers
import sys
from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any


class AccessLog:
    """Writes records (dataclasses) as JSON lines, from any thread."""

    def __init__(self, path: str) -> None:
        """`path` is a file to append to, or `-` for standard error; raises OSError when it cannot be opened.

        A file that was moved or removed, by logrotate say, is opened anew.
        """
        self._handler: logging.Handler = (
            logging.StreamHandler(sys.stderr) if path == "-" else logging.handlers.WatchedFileHandler(path)
        )
        self._handler.setFormatter(logging.Formatter("%(message)s"))

    def __call__(self, record: Any) -> None:
        """Write one line: the time of the answer (UTC), then the record's fields that are not empty."""
        fields = {name: value for name, value in asdict(record).items() if value not in ("", None)}
        line = json.dumps({"time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"), **fields})
        self._handler.handle(logging.LogRecord("access", logging.INFO, "", 0, line, None, None))

    def close(self) -> None:
        self._handler.close()
