"""The base class of all readers: bytes in, packets out, faults raised with their place in the file.

A reader is a class with explicit state rather than a generator, because reading must be able to continue after a
damaged packet: a generator that has raised is finished, but an object can be called again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

from eventveil.errors import EventFileError
from eventveil.events import EventPacket, Sensor

NEAR_US = 1_000_000  # merged and filtered recordings step back by less
ANY_STEP_US = 1 << 62
OUTLYING = "event with an outlying time"
SKIP = 'copy the file again, or skip what is damaged: --on-damage skip, on_damage="skip"'


class Reader(ABC):
    """Reads one recording of one format, in bounded memory.

    The constructor of a subclass takes the path and the format's options, opens the file and reads its header; it
    raises `EventFileError` if the header violates the format. The order and bounds of events are checked later, in one
    place for all formats; the reader itself must be memory-safe for any bytes.

    Attributes:
        format: name of the format, as `eventveil info` prints it.
        suffixes: file extensions of the format, in lower case, with the dot.
        single_words: whether each event is a word or a line of its own: a damaged one says nothing about the rest.
        near_us: steps of time up to here need no confirmation by later events; ANY_STEP_US if the reader itself leaves
            outlying times out, or if each time is stored as a step from the one before.
        options: what may follow a `?` in the name given to `open_events`, as in `trial.npy?unit=ms`.
        path: the file.
        sensor: geometry as the file states it, or None if the file holds none; then `open_events` sets the one given to
            it, before the first packet is read.
        metadata: other header fields (camera, serial, date, ...), as plain JSON values.
        skipped: how much was read and left out, by reason ("unknown word", "special event", ...), so that nothing is
            lost silently.
    """

    format: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]]
    options: ClassVar[frozenset[str]] = frozenset()
    single_words: ClassVar[bool] = False
    near_us: ClassVar[int] = NEAR_US

    def __init__(self, path: Path, **options: str) -> None:  # noqa: ARG002 - a format without options ignores them
        self.path = path
        self.sensor: Sensor | None = None
        self.metadata: dict[str, Any] = {}
        self.skipped: Counter[str] = Counter()

    @classmethod
    @abstractmethod
    def recognises(cls, head: bytes) -> bool:
        """Return whether the first 64 KiB of a file are of this format; False if the format has no signature."""

    @abstractmethod
    def read_packet(self) -> EventPacket | None:
        """Return the next packet, or None at the end of the recording.

        Raises:
            EventFileError: the bytes violate the format. If the error is `recoverable`, the next call continues after
                the damage; otherwise the next call returns None.
        """

    @abstractmethod
    def close(self) -> None:
        """Close the file. May be called twice."""

    def fault(
        self, expected: str, remedy: str, *, where: str | None = None, recoverable: bool = False
    ) -> EventFileError:
        """Return an `EventFileError` about this file, for the caller to raise."""
        return EventFileError(
            self.path, format=self.format, expected=expected, remedy=remedy, where=where, recoverable=recoverable
        )
