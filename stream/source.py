"""The histogram stage: a source of events, paced or not, through the histogrammer, into the line.

Reader, clock and histogrammer share one thread: events are many and windows are few, so the first socket stands
behind the histogram.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from eventveil.events import EventPacket, Sensor, Window
from eventveil.io import open_events
from eventveil.replay.player import paced
from eventveil.stream.histogram import WindowedHistogrammer
from eventveil.stream.outbox import Outbox
from eventveil.stream.parcel import Parcel
from eventveil.stream.plan import WindowPlan
from eventveil.stream.runner import Reporter, Signals
from eventveil.stream.settings import SourceSettings
from eventveil.stream.windows import Origin, RawWindow


class _Stopped(Exception):  # noqa: N818 - not an error: somebody asked for it
    pass


class SourceStage:
    """Reads one source to its end, or until the line is stopped.

    Args:
        source: what to read, and how fast.
        window: how to cut it into windows.
        outbox: where the windows go.
    """

    def __init__(self, source: SourceSettings, window: WindowPlan, outbox: Outbox) -> None:
        self._source = source
        self._window = window
        self._outbox = outbox
        self._counts = {"received": 0, "binned": 0, "late": 0, "outside": 0, "saturated": 0, "windows": 0}

    def figures(self) -> dict[str, Any]:
        """Counts and drops so far."""
        counts = self._counts | {"sent": self._outbox.sent, "waiting": len(self._outbox)}
        return {"counts": counts, "dropped": dict(self._outbox.lost.total)}

    def run(self, signals: Signals, report: Reporter) -> None:
        """Send all windows and the end of the stream, also behind a fault of the source, which is then raised."""
        fault: Exception | None = None
        try:
            self._read(signals, report)
        except Exception as error:
            fault = error
        self._outbox.put(Parcel(self._source.stream, None))
        while not signals.aborted() and not self._outbox.drain(0.5):
            report.beat()
        if fault is not None:
            raise fault

    def _read(self, signals: Signals, report: Reporter) -> None:
        source = self._source
        with open_events(source.uri, sensor=source.sensor, on_disorder=source.on_disorder) as events:
            histogrammer = self._window.histogrammer(events.sensor)
            try:
                for packet in self._packets(events, signals, report):
                    self._send(histogrammer.push(packet), events.sensor)
                    self._take_stock(histogrammer)
                    report.beat()
                    if signals.stop.is_set() or signals.aborted():
                        break
            except _Stopped:
                pass
            finally:
                # Whatever ended the reading: what was binned before it still goes out.
                if not signals.aborted():
                    self._send(histogrammer.finish(), events.sensor)
                    self._take_stock(histogrammer)

    def _packets(self, events: Iterable[EventPacket], signals: Signals, report: Reporter) -> Iterable[EventPacket]:
        def sleep(seconds: float) -> None:
            self._outbox.flush()
            report.beat()
            if signals.stop.wait(min(seconds, 0.05)) or signals.aborted():
                raise _Stopped

        return events if self._source.speed == "max" else paced(events, speed=self._source.speed, sleep=sleep)

    def _send(self, windows: Iterable[Window], sensor: Sensor) -> None:
        for window in windows:
            origin = Origin(
                self._source.stream, sensor, window.seq, window.t_start_us, window.t_end_us, time.monotonic_ns()
            )
            self._counts["windows"] += 1
            self._outbox.put(Parcel(self._source.stream, RawWindow(origin, window.counts)))

    def _take_stock(self, histogrammer: WindowedHistogrammer) -> None:
        stats = histogrammer.stats
        for name in ("received", "binned", "late", "outside", "saturated"):
            self._counts[name] = getattr(stats, name)
