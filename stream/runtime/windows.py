"""What travels along the line: raw windows on its private half, anonymized windows behind the anonymizer.

The difference between the two is the privacy boundary, and it is held twice. By type: the publisher takes an
`AnonymizedWindow` and nothing else. And by seal, because between processes types are only bytes: the anonymizer marks
each window with a keyed digest over its origin and its values, the publisher checks it, and nobody else holds the key,
which is made anew for each run. A stage wired wrongly, a buffer mixed up on the way, a raw window posing as an
anonymized one: none of them carries a valid seal, and none of them comes out.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from eventveil.errors import BoundaryError
from eventveil.events import Sensor


@dataclass(frozen=True, slots=True)
class Origin:
    """Where and when a window was seen.

    Attributes:
        stream: name of the source, as subscribers see it.
        sensor: geometry of the camera, before crop and scale.
        seq: number of the window in its stream.
        t_start_us: start of the window, camera time.
        t_end_us: end of the window (excluded), camera time.
        closed_ns: when the window was complete, on this machine's monotonic clock: its age counts from here.
        incidents: what happened to the camera, by kind: in or before how many windows since the stream began.
    """

    stream: str
    sensor: Sensor
    seq: int
    t_start_us: int
    t_end_us: int
    closed_ns: int
    incidents: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class RawWindow:
    """A window before the anonymizer: counts of real events. Never to leave the machine.

    Attributes:
        origin: where and when.
        counts: uint16 (K, 2, H, W), or float32 (B, H, W) for an anonymizer of voxel grids.
    """

    origin: Origin
    counts: npt.NDArray[Any]

    def __repr__(self) -> str:
        return f"RawWindow({self.origin.stream!r}, seq={self.origin.seq})"


@dataclass(frozen=True, slots=True, eq=False)
class AnonymizedWindow:
    """A window behind the anonymizer: what may be published.

    Attributes:
        origin: where and when.
        values: float32 (C, H, W), what the anonymizer made.
        seal: the anonymizer's mark over origin and values; see `Seal`.
        scores: float32 (classes,), what the classifier saw in it, or None before (or without) a classifier.
    """

    origin: Origin
    values: npt.NDArray[np.float32]
    seal: bytes
    scores: npt.NDArray[np.float32] | None = None

    def with_scores(self, scores: npt.NDArray[np.float32]) -> AnonymizedWindow:
        """The same window, classified."""
        return replace(self, scores=scores)

    def __repr__(self) -> str:
        return f"AnonymizedWindow({self.origin.stream!r}, seq={self.origin.seq})"


class Seal:
    """The mark that the anonymizer sets and the publisher checks: HMAC-SHA256 under a key of this run.

    Args:
        key: 32 secret bytes that only the anonymizer and the publisher of one run are given.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    @staticmethod
    def new_key() -> bytes:
        """A fresh key from the operating system's entropy."""
        return secrets.token_bytes(32)

    def set(self, origin: Origin, values: npt.NDArray[np.float32]) -> AnonymizedWindow:
        """Make the anonymized window. Only the anonymizer calls this."""
        return AnonymizedWindow(origin, values, self._mark(origin, values))

    def check(self, window: object) -> AnonymizedWindow:
        """Return the window if the anonymizer made it, exactly as it is now.

        Raises:
            BoundaryError: it is not an `AnonymizedWindow`, or its seal does not fit.
        """
        if not isinstance(window, AnonymizedWindow):
            raise BoundaryError(f"only an AnonymizedWindow may be published, got {type(window).__name__}: refused")
        if not hmac.compare_digest(self._mark(window.origin, window.values), window.seal):
            raise BoundaryError(f"{window!r} does not carry the anonymizer's seal: refused")
        return window

    def _mark(self, origin: Origin, values: npt.NDArray[np.float32]) -> bytes:
        mark = hmac.new(self._key, digestmod=hashlib.sha256)
        mark.update(f"{origin}|{values.dtype.str}|{values.shape}".encode())
        mark.update(np.ascontiguousarray(values).data)
        return mark.digest()
