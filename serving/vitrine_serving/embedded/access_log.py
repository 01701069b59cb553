"""One JSON line for each request."""

from __future__ import annotations

import json
import logging
import logging.handlers
import sys
from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any

logger = logging.getLogger(__name__)


class AccessLog:
    """Writes records (dataclasses) as JSON lines, from any thread. A line that cannot be written fails no request."""

    def __init__(self, path: str) -> None:
        """`path` is a file to append to, or `-` for standard error; raises OSError when it cannot be opened.

        A file that was moved or removed, by logrotate say, is opened anew.
        """
        self._path = path
        self._complained = False
        self._handler: logging.Handler = (
            logging.StreamHandler(sys.stderr) if path == "-" else logging.handlers.WatchedFileHandler(path)
        )
        self._handler.setFormatter(logging.Formatter("%(message)s"))
        self._handler.handleError = self._handle_error  # type: ignore[method-assign]

    def __call__(self, record: Any) -> None:
        """Write one line: the time of the answer (UTC), then the record's fields that are not empty."""
        fields = {name: value for name, value in asdict(record).items() if value not in ("", None)}
        line = json.dumps({"time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"), **fields})
        try:
            self._handler.handle(logging.LogRecord("access", logging.INFO, "", 0, line, None, None))
        except OSError as error:
            # The handler opens its file again outside its own care.
            self._complain(error)

    def close(self) -> None:
        self._handler.close()

    def _handle_error(self, record: logging.LogRecord) -> None:
        self._complain(sys.exc_info()[1])

    def _complain(self, error: BaseException | None) -> None:
        if not self._complained:
            self._complained = True
            logger.error("Requests are not logged: cannot write to --access_log %s: %s", self._path, error)
