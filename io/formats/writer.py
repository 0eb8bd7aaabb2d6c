"""The base class of all writers: packets in, and at the end one complete file or none.

A writer fills a temporary file next to its target and renames it on success. A reader of the target sees the old file
or the new one, never half of a recording: neither after Ctrl-C, nor on a full disk. Only its owner can read the file.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, ClassVar, Self, cast

from eventveil.errors import EventError, EventFileError
from eventveil.events import EventPacket, Sensor
from eventveil.host.files import atomic_file

# Imported on demand: the fast encoders compile, and most programs write one format or none.
WRITERS = {
    ".aedat4": ("aedat4_writer", "Aedat4Writer"),
    ".raw": ("evt3_writer", "Evt3Writer"),
    ".npy": ("npy_writer", "NpyWriter"),
    ".csv": ("csv_writer", "CsvWriter"),
}


class Writer(ABC):
    """Writes one recording of one format; a context manager.

    A subclass implements `begin`, `encode` and `finish`, which write to `self.file`; an `OSError` in any of them
    becomes an `EventFileError`. Leaving the `with` block without an exception finishes the file and puts it in
    place of the target; leaving it with one removes what was written and leaves the target as it was.

    Args:
        path: the target.
        sensor: geometry of the recording.
        replace: whether an existing file may be replaced.

    Attributes:
        format: name of the format.
        path: the target.
        sensor: geometry of the recording.
        events: the number of events written so far.
        file: the temporary file, open inside the `with` block; it can seek.
    """

    format: ClassVar[str]

    def __init__(self, path: Path | str, sensor: Sensor, *, replace: bool = True) -> None:
        self.path = Path(path)
        self.sensor = sensor
        self._replace = replace
        self.events = 0
        self.file: BinaryIO
        self._target = ExitStack()
        self._last_t: int | None = None

    @abstractmethod
    def begin(self) -> None:
        """Write what precedes the first event."""

    @abstractmethod
    def encode(self, packet: EventPacket) -> None:
        """Write a packet, which holds at least one event and has been checked for order and geometry."""

    @abstractmethod
    def finish(self) -> None:
        """Write what follows the last event; there may have been none."""

    def write(self, packet: EventPacket) -> None:
        """Append a packet.

        Raises:
            EventError: an event lies outside the sensor, or time goes back: no reader would accept the file.
            EventFileError: the file cannot be written.
        """
        if len(packet) == 0:
            return
        self._check(packet)
        with self._converting_errors():
            self.encode(packet)
        self.events += len(packet)
        self._last_t = int(packet.t[-1])

    def _check(self, packet: EventPacket) -> None:
        if packet.x.max() >= self.sensor.width or packet.y.max() >= self.sensor.height:
            raise EventError(
                f"packet after event {self.events} for {self.path}: expected coordinates on a sensor of {self.sensor},"
                " got some outside; state the sensor that recorded them"
            )
        back = self._last_t is not None and packet.t[0] < self._last_t
        if back or (packet.t[1:] < packet.t[:-1]).any():
            raise EventError(
                f"packet after event {self.events} for {self.path}: expected times that never decrease; "
                'sort the events, or read them with on_disorder="sort"'
            )

    def __enter__(self) -> Self:
        with self._converting_errors():
            self.file = cast(BinaryIO, self._target.enter_context(atomic_file(self.path, replace=self._replace)))
        try:
            with self._converting_errors():
                self.begin()
        except BaseException:
            self._discard()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._discard()
            return
        try:
            with self._converting_errors():
                self.finish()
        except BaseException:
            self._discard()
            raise
        with self._converting_errors():
            self._target.close()

    def _discard(self) -> None:
        reason = InterruptedError("the recording is not finished")
        with suppress(OSError):  # the file is removed; data that cannot be flushed does not matter
            self._target.__exit__(type(reason), reason, None)

    @contextmanager
    def _converting_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise EventFileError(
                self.path,
                format=self.format,
                expected=f"cannot be written: {error.strerror or error}",
                remedy="no partial file remains; choose another folder, or free some space and allow writing there",
            ) from error


def open_writer(path: Path | str, sensor: Sensor, *, replace: bool = True) -> Writer:
    """Return the writer for the extension of a path: .aedat4, .raw (EVT3), .npy or .csv.

    An existing file is replaced when the `with` block ends without an exception; with `replace=False`, it is kept, and
    an error is raised. A symbolic link is never followed or replaced.

        with open_writer("trial.aedat4", source.sensor) as writer:
            for packet in source:
                writer.write(packet)

    Raises:
        EventFileError: no writer has this extension.
    """
    path = Path(path)
    if path.suffix.lower() not in WRITERS:
        raise EventFileError(
            path,
            format=None,
            expected=f"no writer for {path.suffix or 'a name without extension'!r}",
            remedy=f"end the name in one of {', '.join(WRITERS)}",
        )
    module, name = WRITERS[path.suffix.lower()]
    return cast(Writer, getattr(import_module(f"eventveil.io.formats.{module}"), name)(path, sensor, replace=replace))
