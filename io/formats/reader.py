"""What every reader of a format is: bytes in, packets out, a fault told with its place.

A reader is a class with explicit state rather than a generator, because iteration must be able to go on behind a
damaged packet: a generator that has raised is finished, an object can be asked again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

from eventveil.errors import EventFileError
from eventveil.events import EventPacket, Sensor


class Reader(ABC):
    """Reads one recording of one format, in bounded memory.

    The constructor of a subclass takes the path and the format's options, opens the file and reads its header; it
    raises `EventFileError` where the header is not what the format says. Order and bounds of events are checked behind
    the reader, in one place for all formats; memory safety whatever the bytes is the reader's own.

    Attributes:
        format: name of the format, as `eventveil info` prints it.
        suffixes: how names of such files end, in lower case, with the dot.
        options: what may stand behind a `?` in the name given to `open_events`, as in `trial.npy?unit=ms`.
        path: the file.
        sensor: geometry as the file states it, or None where the file holds none; then `open_events` puts in the one
            that is given to it, before the first packet is read.
        metadata: what else the header tells (camera, serial, date, ...), as plain JSON values.
        skipped: what was read and left out, by reason ("unknown word", "special event", ...), so that nothing is
            lost silently.
    """

    format: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]]
    options: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, path: Path, **options: str) -> None:  # noqa: ARG002 - what a format has none of, it ignores
        self.path = path
        self.sensor: Sensor | None = None
        self.metadata: dict[str, Any] = {}
        self.skipped: Counter[str] = Counter()

    @classmethod
    @abstractmethod
    def recognises(cls, head: bytes) -> bool:
        """Tell by the first 64 KiB of a file whether it is of this format; False where the format has no sign."""

    @abstractmethod
    def read_packet(self) -> EventPacket | None:
        """Return the next packet, or None at the end of the recording.

        Raises:
            EventFileError: the bytes are not what the format says. Where the error is `recoverable`, a further call
                continues behind the damage; otherwise a further call returns None.
        """

    @abstractmethod
    def close(self) -> None:
        """Give the file back. May be called twice."""

    def fault(
        self, expected: str, remedy: str, *, where: str | None = None, recoverable: bool = False
    ) -> EventFileError:
        """An `EventFileError` of this file, to be raised by the caller."""
        return EventFileError(
            self.path, format=self.format, expected=expected, remedy=remedy, where=where, recoverable=recoverable
        )
