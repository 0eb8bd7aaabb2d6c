"""The histogram stage: a source of events, paced or not, through the histogrammer, into the line.

Reader, clock and histogrammer share one thread: events are many and windows are few, so the first socket stands
behind the histogram.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import Any

from eventveil.events import EventPacket, Sensor, Window
from eventveil.replay.ground_truth import Truth
from eventveil.replay.player.pace import paced
from eventveil.replay.player.player import Player
from eventveil.replay.player.sources import open_playlist
from eventveil.stream.histogram import HistogramStats, WindowedHistogrammer
from eventveil.stream.histogram.density import DensityMeter
from eventveil.stream.plan import WindowPlan
from eventveil.stream.preprocess.view import SceneFilter, View
from eventveil.stream.runtime.accounting import StageCounters
from eventveil.stream.runtime.accuracy import GroundTruth
from eventveil.stream.runtime.edge_queue import EdgeSender
from eventveil.stream.runtime.message import StageMessage
from eventveil.stream.runtime.reporting import StageReporter
from eventveil.stream.runtime.signals import Signals
from eventveil.stream.runtime.windows import Origin, RawWindow
from eventveil.stream.settings import SourceSettings
from eventveil.stream.stages.resume import behind, is_read_again, moved, resume_at

LOOK_UP_S = 0.01  # how often a stage that reads as fast as it goes looks up; more often would cost a tenth of its rate


class Stopped(Exception):  # noqa: N818 - not an error: somebody asked for it
    """The line is to stop."""


class RecordingSource:
    """Reads one source to its end, or until the line is stopped.

    Args:
        source: what to read, and how fast.
        window: how to cut it into windows.
        outbox: where the windows go.
        page: the stage's books: of one that is started anew, with what was made before.
        judged: tell the supervisor what each window shows, where that is known.
    """

    def __init__(
        self,
        source: SourceSettings,
        window: WindowPlan,
        outbox: EdgeSender,
        page: StageCounters,
        *,
        judged: bool = False,
    ) -> None:
        self._source = source
        self._window = window
        self._outbox = outbox
        self._judged = judged
        self._page = page
        self._entry = page[source.stream]
        self._before = self._counted()  # events of what was made before
        self._at_work: WindowedHistogrammer | None = None
        self._scene: SceneFilter | None = None
        self._density = DensityMeter(window.size[0] * window.size[1])

    def figures(self) -> dict[str, Any]:
        """Counts and drops so far."""
        page, entry = self._page, self._entry
        if self._at_work is not None:
            self._count(self._at_work.stats)
        events = {"received": page.events, "binned": page.binned, "late": page.late, "outside": page.outside}
        events |= {"saturated": page.saturated} | ({} if self._scene is None else self._scene.counts())
        counts = events | {"windows": entry.received, "sent": entry.sent, "waiting": self._outbox.windows}
        return {"counts": counts, "dropped": page.dropped(), "values": self._density.values()}

    def run(self, signals: Signals, report: StageReporter) -> None:
        """Send all windows and the end of the stream, also behind a fault of the source, which is then raised."""
        fault: Exception | None = None
        try:
            if not self._entry.ended:
                self._read(signals, report)
        except Exception as error:
            fault = error
        self._entry.ended = 1
        self._outbox.put(StageMessage(self._source.stream, None, made=self._entry.received))
        while not signals.aborted() and not self._outbox.drain(0.5):
            report.beat()
        if fault is not None:
            raise fault

    def _read(self, signals: Signals, report: StageReporter) -> None:
        source = self._source
        playlist = open_playlist(
            source.where,
            sensor=source.sensor,
            on_disorder=source.on_disorder,
            shuffle=source.shuffle,
            seed=source.seed,
        )
        excerpt = source.excerpt
        resume_us = resume_at(source, self._window, self._entry)
        if resume_us is not None and not is_read_again(source):
            playlist, excerpt = moved(playlist, excerpt, self._entry, resume_us)
        view = View.of(playlist.sensor, source.scene, self._window.size, self._window.field)
        self._scene = scene = SceneFilter(playlist.sensor, source.scene, view)
        self._at_work = histogrammer = self._window.histogrammer(view, resume_us)
        player = Player(playlist, excerpt)

        def send(windows: Iterable[Window]) -> None:
            for window in windows:
                if self._judged:
                    self._note(window, player.truth, report)
                self._send(window, playlist.sensor)
                self._count(histogrammer.stats)  # not with each packet: of those there are far too many

        with closing(iter(player)) as packets:
            try:
                left = packets if resume_us is None else behind(packets, resume_us)
                for packet in self._paced(left, signals, report):
                    send(histogrammer.push(scene.see(packet)))
            except Stopped:
                pass
            finally:
                # Whatever ended the reading: what was binned before it still goes out.
                if not signals.aborted():
                    send(histogrammer.finish())
                self._count(histogrammer.stats)

    def _paced(self, packets: Iterable[EventPacket], signals: Signals, report: StageReporter) -> Iterable[EventPacket]:
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

    def _send(self, window: Window, sensor: Sensor) -> None:
        stream, entry, span = self._source.stream, self._entry, (window.t_start_us, window.t_end_us)
        origin = Origin(stream, sensor, entry.received, *span, time.monotonic_ns(), self._incidents())
        if not entry.received:
            entry.start_us = window.t_start_us
        entry.until_us, entry.closed_ns = window.t_end_us, origin.closed_ns
        entry.received += 1
        self._density.add(window.events)
        self._outbox.put(StageMessage(stream, RawWindow(origin, window.counts)))

    def _incidents(self) -> dict[str, int]:
        """What happened to the camera so far: nothing happens to a recording."""
        return {}

    def _counted(self) -> HistogramStats:
        page = self._page
        return HistogramStats(page.events, page.binned, page.late, page.outside, page.saturated)

    def _count(self, stats: HistogramStats) -> None:
        """Book what became of the events, with those of histogrammers and lives before."""
        self._page.events = self._before.received + stats.received
        self._page.binned = self._before.binned + stats.binned
        self._page.late = self._before.late + stats.late
        self._page.outside = self._before.outside + stats.outside
        self._page.saturated = self._before.saturated + stats.saturated

    def _note(self, window: Window, truth: Truth, report: StageReporter) -> None:
        """Tell the supervisor, and nobody else, what a window shows."""
        span = truth.of(window.t_start_us, window.t_end_us)
        if span is not None:
            report.note(
                GroundTruth(
                    stream=self._source.stream,
                    seq=self._entry.received,  # it is noted before it is sent
                    trial=span.trial,
                    label=span.label,
                    subject=span.subject,
                    since_us=window.t_end_us - span.start_us,
                )
            )
