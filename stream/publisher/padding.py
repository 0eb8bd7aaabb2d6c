"""One length for all headers of a topic: encryption does not hide the length of a message.

The length would reveal the gesture's name, how many digits the numbers have, and what was lost. So each header is
padded to the length of the longest that the pipeline could ever send.
"""

from __future__ import annotations

from typing import Any

from eventveil.stream.protocol.wire import Geometry, Header
from eventveil.stream.runtime.accounting import AGE, CRASH, INCIDENTS, OVERLAP, QUEUE

STEP = 1024  # bytes: most pipelines share one length, whatever their weights
_LONGEST: dict[str, Any] = {
    "stream": "x" * 64,
    "life": (1 << 63) - 1,
    "sensor": Geometry(width=65_536, height=65_536),
    "seq": (1 << 63) - 1,
    "t_start_us": -(1 << 63),
    "t_end_us": -(1 << 63),
    "age_ms": (1 << 63) - 1,
    "lost": dict.fromkeys((QUEUE, AGE, OVERLAP, CRASH), (1 << 63) - 1),
    "incidents": dict.fromkeys(INCIDENTS, (1 << 63) - 1),
    "probability": 0.99,
    "word": (1 << 63) - 1,
    "presence": False,
}


def padded_size(kind: type[Header], **values: Any) -> int:
    """Return the length in bytes to which headers of a kind are padded.

    Args:
        kind: kind of the header.
        values: the fields that no message of the pipeline changes, and the longest text of each that varies.
    """
    longest = kind.model_construct(**(_LONGEST | values))
    return -(-len(longest.model_dump_json().encode()) // STEP) * STEP
