"""Events as they are published: records of 13 bytes, little-endian and without gaps."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from eventveil.events import EventPacket

EVENT: Final = "<i8,<u2,<u2,u1"
"""NumPy's name of a record: time in microseconds, x, y, and polarity (1 = ON)."""
EVENT_DTYPE: Final = np.dtype({"names": ["t", "x", "y", "p"], "formats": EVENT.split(",")})


def event_records(events: EventPacket) -> npt.NDArray[Any]:
    """Return the records of events, (n,) of `EVENT_DTYPE`.

    >>> event_records(EventPacket.of([100], [2], [1], [1])).tobytes().hex(" ", -8)
    '6400000000000000 0200010001'
    """
    records = np.empty(len(events), EVENT_DTYPE)
    for name in EVENT_DTYPE.names or ():
        records[name] = getattr(events, name)
    return records
