"""The histogram stage: a source of events, paced or not, through the histogrammer, into the line.

Reader, clock and histogrammer share one thread: events are many and windows are few, so the first socket stands
behind the histogram.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import asdict
from typing import Any

from eventveil.events import EventPacket, Sensor, Window
from eventveil.replay.pace import paced
from eventveil.replay.player import Player
from eventveil.replay.sources import open_programme
from eventveil.replay.truth import Truth
from eventveil.stream.histogram import HistogramStats, WindowedHistogrammer
from eventveil.stream.outbox import Outbox
from eventveil.stream.parcel import Parcel
from eventveil.stream.plan import WindowPlan
from eventveil.stream.runner import Reporter, Signals
from eventveil.stream.scene import Scene, View
from eventveil.stream.score import Shown
from eventveil.stream.settings import SourceSettings
from eventveil.stream.windows import Origin, RawWindow

LOOK_UP_S = 0.01  # how often a stage that reads as fast as it goes looks up; more often would cost a tenth of its rate


class Stopped(Exception):  # noqa: N818 - not an error: somebody asked for it
    """The line is to stop."""


class SourceStage:
    """Reads one source to its end, or until the line is stopped.

    Args:
        source: what to read, and how fast.
        window: how to cut it into windows.
        outbox: where the windows go.
        judged: tell the supervisor what each window shows, where that is known.
    """

    def __init__(self, source: SourceSettings, window: WindowPlan, outbox: Outbox, *, judged: bool = False) -> None:
        self._source = source
        self._window = window
        self._outbox = outbox
        self._judged = judged
        self._windows = 0
        self._histogrammer: WindowedHistogrammer | None = None
        self._scene: Scene | None = None

    def figures(self) -> dict[str, Any]:
        """Counts and drops so far."""
        events = asdict(HistogramStats() if self._histogrammer is None else self._histogrammer.stats)
        events |= {} if self._scene is None else self._scene.counts()
        counts = events | {"windows": self._windows, "sent": self._outbox.sent, "waiting": len(self._outbox)}
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
        programme = open_programme(
            source.where,
            sensor=source.sensor,
            on_disorder=source.on_disorder,
            shuffle=source.shuffle,
            seed=source.seed,
        )
        view = View.of(programme.sensor, source.scene, self._window.size, self._window.field)
        self._scene = scene = Scene(programme.sensor, source.scene, view)
        self._histogrammer = histogrammer = self._window.histogrammer(view)
        player = Player(programme, source.excerpt)

        def send(windows: Iterable[Window]) -> None:
            for window in windows:
                self._send(window, programme.sensor)
                if self._judged:
                    self._note(window, player.truth, report)

        with closing(iter(player)) as packets:
            try:
                for packet in self._paced(packets, signals, report):
                    send(histogrammer.push(scene.see(packet)))
            except Stopped:
                pass
            finally:
                # Whatever ended the reading: what was binned before it still goes out.
                if not signals.aborted():
                    send(histogrammer.finish())

    def _paced(self, packets: Iterable[EventPacket], signals: Signals, report: Reporter) -> Iterable[EventPacket]:
        def look_up() -> Iterator[EventPacket]:
            next_s = 0.0
            for packet in packets:
                now_s = time.monotonic()
                if now_s >= next_s:
                    next_s = now_s + LOOK_UP_S
                    report.beat()
                    if signals.stop.is_set() or signals.aborted():
                        raise Stopped
                yield packet

        def sleep(seconds: float) -> None:
            self._outbox.flush()
            report.beat()
            if signals.stop.wait(min(seconds, 0.05)) or signals.aborted():
                raise Stopped

        return look_up() if self._source.speed == "max" else paced(look_up(), speed=self._source.speed, sleep=sleep)

    def _send(self, window: Window, sensor: Sensor, incidents: dict[str, int] | None = None) -> None:
        stream, span = self._source.stream, (window.t_start_us, window.t_end_us)
        origin = Origin(stream, sensor, window.seq, *span, time.monotonic_ns(), incidents or {})
        self._windows += 1
        self._outbox.put(Parcel(stream, RawWindow(origin, window.counts)))

    def _note(self, window: Window, truth: Truth, report: Reporter) -> None:
        """Tell the supervisor, and nobody else, what a window shows."""
        span = truth.of(window.t_start_us, window.t_end_us)
        if span is not None:
            report.note(
                Shown(
                    stream=self._source.stream,
                    seq=window.seq,
                    trial=span.trial,
                    label=span.label,
                    subject=span.subject,
                    since_us=window.t_end_us - span.start_us,
                )
            )
