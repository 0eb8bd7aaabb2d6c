"""The windows in a pipeline: raw ones before the anonymizer, anonymized ones after it.

The difference between the two is the privacy boundary, and it is enforced twice. By type: the publisher takes an
`AnonymizedWindow`, or from a stand-in a `ChosenWord`, and nothing else. And by seal, because between processes types
are only bytes: the anonymizer marks each window with a keyed digest of its origin and values (of a word, its number),
and the publisher checks it. No other stage holds the key, which is new for each run. A stage wired wrongly, a buffer
mixed up on the way, a raw window posing as an anonymized one: none of them carries a valid seal, so none of them is
published.
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
    """Where and when a window was recorded.

    Attributes:
        stream: name of the source, as subscribers see it.
        sensor: geometry of the camera, before crop and scale.
        seq: number of the window in its stream.
        t_start_us: start of the window, camera time.
        t_end_us: end of the window (excluded), camera time.
        ended_ns: when the window ended, on this machine's monotonic clock: its age counts from here. For a source
            without a clock (read at full speed), when it was complete.
        release_ns: when it is to be published, on the same clock; None: at once, for a source without a clock.
        incidents: what happened to the camera: by kind, the number of windows so far in or before which it happened.
    """

    stream: str
    sensor: Sensor
    seq: int
    t_start_us: int
    t_end_us: int
    ended_ns: int
    release_ns: int | None = None
    incidents: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class RawWindow:
    """A window before the anonymizer: counts of real events. It must never leave the machine.

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
    """A window after the anonymizer: the only kind that may be published.

    Attributes:
        origin: where and when.
        values: float32 (C, H, W), the anonymizer's output.
        seal: the anonymizer's mark over origin, values and `quiet`; see `Seal`.
        scores: float32 (classes,), the classifier's output; None before (or without) a classifier.
        quiet: whether the raw window had fewer events than `classify.min_density`: no gesture is named then.
    """

    origin: Origin
    values: npt.NDArray[np.float32]
    seal: bytes
    scores: npt.NDArray[np.float32] | None = None
    quiet: bool = False

    def with_scores(self, scores: npt.NDArray[np.float32]) -> AnonymizedWindow:
        """Return the same window, classified."""
        return replace(self, scores=scores)

    def __repr__(self) -> str:
        return f"AnonymizedWindow({self.origin.stream!r}, seq={self.origin.seq})"


@dataclass(frozen=True, slots=True)
class ChosenWord:
    """What a stand-in sends across the boundary instead of a window: the number of a word in the public book, no more.

    Attributes:
        origin: where and when; it spans only the step in which the word is played.
        word: the number.
        seal: the anonymizer's mark over origin and number; see `Seal`.
    """

    origin: Origin
    word: int
    seal: bytes

    def __repr__(self) -> str:
        return f"ChosenWord({self.origin.stream!r}, seq={self.origin.seq})"


class Seal:
    """The mark that the anonymizer sets and the publisher checks: HMAC-SHA256 under a key that is new for each run.

    Args:
        key: 32 secret bytes, known only to the anonymizer and the publisher of one run.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    @staticmethod
    def new_key() -> bytes:
        """Return a fresh key from the operating system's entropy."""
        return secrets.token_bytes(32)

    def set(self, origin: Origin, values: npt.NDArray[np.float32], *, quiet: bool = False) -> AnonymizedWindow:
        """Return a sealed window. Only the anonymizer calls this."""
        return AnonymizedWindow(origin, values, self._mark(origin, values, quiet), quiet=quiet)

    def check(self, window: object) -> AnonymizedWindow:
        """Return the window if the anonymizer made it and it has not changed since.

        Raises:
            BoundaryError: it is not an `AnonymizedWindow`, or its seal is not valid.
        """
        if not isinstance(window, AnonymizedWindow):
            raise BoundaryError(f"only an AnonymizedWindow may be published, got {type(window).__name__}: refused")
        if not hmac.compare_digest(self._mark(window.origin, window.values, window.quiet), window.seal):
            raise BoundaryError(f"{window!r} does not carry the anonymizer's seal: refused")
        return window

    def set_word(self, origin: Origin, word: int) -> ChosenWord:
        """Return a sealed word. Only the anonymizer calls this."""
        return ChosenWord(origin, word, self._mark_word(origin, word))

    def check_word(self, chosen: object) -> ChosenWord:
        """Return the word if the anonymizer chose it and it has not changed since.

        Raises:
            BoundaryError: it is not a `ChosenWord` with a whole number, or its seal is not valid.
        """
        if not isinstance(chosen, ChosenWord):
            raise BoundaryError(
                f"a stand-in lets out a ChosenWord and nothing else, got {type(chosen).__name__}: refused"
            )
        if type(chosen.word) is not int or not hmac.compare_digest(
            self._mark_word(chosen.origin, chosen.word), chosen.seal
        ):
            raise BoundaryError(f"{chosen!r} does not carry the anonymizer's seal: refused")
        return chosen

    def _mark(self, origin: Origin, values: npt.NDArray[np.float32], quiet: bool) -> bytes:
        mark = hmac.new(self._key, digestmod=hashlib.sha256)
        mark.update(f"{origin}|{values.dtype.str}|{values.shape}|{quiet}".encode())
        mark.update(np.ascontiguousarray(values).data)
        return mark.digest()

    def _mark_word(self, origin: Origin, word: int) -> bytes:
        return hmac.digest(self._key, f"{origin}|word|{word}".encode(), "sha256")
