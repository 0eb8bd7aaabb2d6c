"""What the line logs, as JSON for machines: one object a line, on standard error.

Without this, warnings are lines of text. An exception's text and traceback are left out on purpose: a library's message
may quote the values it stumbled over, and logs are outside the boundary.
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
    """One JSON object a line: time (ISO 8601, UTC), level, logger, message."""

    def format(self, record: logging.LogRecord) -> str:  # noqa: D102 - as in the class above
        told = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        return json.dumps(told)


def log_json_lines() -> None:
    """Let all that this process logs be JSON. Called once in each process of a line."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger(ROOT)
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    root.propagate = False
