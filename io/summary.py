"""Summarize a recording in one pass, for `eventveil info`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eventveil.events import MAX_PIXELS, EventPacket, Sensor
from eventveil.io.detect import locate, open_reader
from eventveil.io.source import EventSource, check_packets

PEAK_SPAN_US = 10_000
ANY_SENSOR = Sensor(MAX_PIXELS, MAX_PIXELS)


@dataclass(frozen=True, slots=True)
class Summary:
    """The key figures of a recording; the fields are the keys of `eventveil info --json`.

    Attributes:
        format: name of the format.
        width: pixels; None if neither the file nor the user states it.
        height: pixels; None likewise.
        events: how many events there are.
        on_share: share of ON events, 0 to 1; None without events.
        t_first_us: time of the first event, microseconds; None without events.
        t_last_us: time of the last event, microseconds; None without events.
        duration_us: from the first event to the last; None without events.
        mean_rate: events per second over the duration; None if that is zero.
        peak_rate: events per second in the busiest span of 10 ms, counted from the first event, and never below the
            mean; None if the mean is None.
    """

    format: str
    width: int | None
    height: int | None
    events: int
    on_share: float | None
    t_first_us: int | None
    t_last_us: int | None
    duration_us: int | None
    mean_rate: float | None
    peak_rate: float | None


class Tally:
    """Accumulates the figures of a summary, packet by packet."""

    def __init__(self) -> None:
        self._events = 0
        self._on = 0
        self._t_first = 0
        self._t_last = 0
        self._span = 0  # the span of 10 ms of the last event, and its number of events
        self._span_events = 0
        self._busiest = 0

    def add(self, packet: EventPacket) -> None:
        """Add a packet, which must not be earlier than those before."""
        if len(packet) == 0:
            return
        if self._events == 0:
            self._t_first = int(packet.t[0])
        self._events += len(packet)
        self._on += int(np.count_nonzero(packet.p))
        self._t_last = int(packet.t[-1])
        self._count_spans((packet.t - self._t_first) // PEAK_SPAN_US)

    def _count_spans(self, spans: npt.NDArray[np.int64]) -> None:
        starts = np.flatnonzero(np.diff(spans, prepend=spans[0] - 1))
        counts = np.diff(starts, append=len(spans))
        if spans[0] == self._span:
            counts[0] += self._span_events
        self._busiest = max(self._busiest, int(counts.max()))
        self._span, self._span_events = int(spans[-1]), int(counts[-1])

    def summary(self, form: str, sensor: Sensor | None) -> Summary:
        """Return the summary of all packets so far."""
        has_events = self._events > 0
        duration = self._t_last - self._t_first
        mean = self._events / duration * 1e6 if duration else None
        return Summary(
            format=form,
            width=sensor.width if sensor else None,
            height=sensor.height if sensor else None,
            events=self._events,
            on_share=self._on / self._events if has_events else None,
            t_first_us=self._t_first if has_events else None,
            t_last_us=self._t_last if has_events else None,
            duration_us=duration if has_events else None,
            mean_rate=mean,
            peak_rate=max(mean, self._busiest / PEAK_SPAN_US * 1e6) if mean else None,
        )


def open_to_describe(path: str | Path, sensor: Sensor | None) -> tuple[EventSource, Sensor | None]:
    """Open a recording to summarize it, even if its geometry is unknown or its clock steps back.

    Returns:
        The source, with late times clipped, and the sensor if it is known.

    Raises:
        EventFileError: as for `open_events`, except that the geometry may be missing.
    """
    reader = open_reader(*locate(path))
    known = sensor or reader.sensor
    return check_packets(reader, known or ANY_SENSOR, "clip"), known
