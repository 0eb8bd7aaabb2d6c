"""Logs as JSON: one object per line, on standard error. Without it, warnings are lines of text.

The text and traceback of exceptions are left out on purpose: a library's message may quote the values that caused it,
and logs are outside the privacy boundary.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Literal

Form = Literal["text", "json"]
ROOT = "eventveil"


class JsonLines(logging.Formatter):
    """Formats a record as one JSON object: time (ISO 8601, UTC), level, logger, message."""

    def format(self, record: logging.LogRecord) -> str:  # noqa: D102 - as in the class above
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        return json.dumps(entry)


def log_json_lines() -> None:
    """Log as JSON in this process. Call it once in each process of a pipeline."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger(ROOT)
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    root.propagate = False
