"""A part of a recording as an event source."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

from eventveil.events import EventPacket, Sensor
from eventveil.io.source import Disorder, EventSource, open_events


def open_recording(
    path: Path, options: str = "", sensor: Sensor | None = None, *, on_disorder: Disorder = "raise"
) -> EventSource:
    """Open a file, whatever characters its name holds, with the options of its format as in `unit=ms`."""
    uri = path.resolve().as_uri()
    return open_events(f"{uri}?{options}" if options else uri, sensor=sensor, on_disorder=on_disorder)


class CutSource:
    """The events of a recording from `start_us` (included) to `stop_us` (excluded).

    Reading ends at the first event past the end, so later damage goes unnoticed. Iteration may continue after a
    recoverable fault, as with any `EventSource`.

    Attributes:
        sensor: geometry of the recording.
    """

    def __init__(self, source: EventSource, start_us: int, stop_us: int) -> None:
        self.sensor = source.sensor
        self._source = source
        self._start_us = start_us
        self._stop_us = stop_us

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> EventPacket:
        for packet in self._source:
            first, last = packet.t.searchsorted((self._start_us, self._stop_us))
            if last < len(packet):
                self._source.close()  # which also ends its iteration
            if first < last:
                return packet[first:last]
        raise StopIteration

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._source.close()


def open_cut(path: Path, start_us: int, stop_us: int, *, on_disorder: Disorder = "raise") -> CutSource:
    """Open the part from `start_us` to `stop_us` of a recording that holds several trials."""
    return CutSource(open_recording(path, on_disorder=on_disorder), start_us, stop_us)
