"""A part of a recording as a source of its own."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

from eventveil.events import EventPacket, Sensor
from eventveil.io.source import Disorder, EventSource, open_events


def open_recording(
    path: Path, options: str = "", sensor: Sensor | None = None, *, on_disorder: Disorder = "raise"
) -> EventSource:
    """Open a file, whatever stands in its name, with the options of its format as in `unit=ms`."""
    uri = path.resolve().as_uri()
    return open_events(f"{uri}?{options}" if options else uri, sensor=sensor, on_disorder=on_disorder)


class CutSource:
    """The events of a recording from `start_us` (included) to `stop_us` (excluded).

    Reading ends with the first event behind, so damage further on is not met. A fault may be iterated on from, as in
    any `EventSource`.

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
                self._source.close()  # which ends its iteration, too
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
    """Open a span of a recording that holds several trials."""
    return CutSource(open_recording(path, on_disorder=on_disorder), start_us, stop_us)
