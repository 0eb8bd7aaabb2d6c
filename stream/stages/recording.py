"""The histogram stage of a recording, dataset or simulation: plays events, paced or not, and emits windows.

Reader, clock and histogrammer share one thread: events are many and windows are few, so the first socket comes after
the histogram.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from functools import partial
from typing import Any

from eventveil.events import EventPacket, Window
from eventveil.replay.ground_truth import Truth
from eventveil.replay.player.pace import Pace, paced
from eventveil.replay.player.player import Player
from eventveil.replay.player.sources import open_playlist
from eventveil.stream.histogram import WindowedHistogrammer
from eventveil.stream.histogram.kernels import compile_all, is_strided
from eventveil.stream.planning.plan import WindowPlan
from eventveil.stream.preprocess.view import SceneFilter, View
from eventveil.stream.runtime.accounting import StageCounters
from eventveil.stream.runtime.accuracy import GroundTruth
from eventveil.stream.runtime.edge_queue import EdgeSender
from eventveil.stream.runtime.reporting import StageReporter
from eventveil.stream.runtime.signals import Signals
from eventveil.stream.settings.pipeline import SourceSettings
from eventveil.stream.stages.emitter import Stopped, WindowEmitter
from eventveil.stream.stages.resume import can_be_reread, continued, resume_at, skip_before

POLL_S = 0.01  # how often a stage that reads at full speed polls for signals; more often would cost a tenth of its rate
LONGEST_SLEEP_S = 0.05


class RecordingSource:
    """Reads one source to its end, or until the pipeline is stopped.

    Implements `eventveil.stream.runtime.stage.Source`.

    Args:
        source: what to read, and how fast.
        window: how to cut it into windows.
        sender: where the windows go.
        counters: counters of the stage; after a restart they hold what was made before it.
        release_ms: delay from the end of a window to its publication.
        judged: report to the supervisor what each window shows, where that is known.
    """

    def __init__(
        self,
        source: SourceSettings,
        window: WindowPlan,
        sender: EdgeSender,
        counters: StageCounters,
        *,
        release_ms: int,
        judged: bool = False,
    ) -> None:
        self._source = source
        self._window = window
        self._judged = judged
        self._emitter = WindowEmitter(source.stream, sender, counters, window.size[0] * window.size[1], release_ms)
        # Read at full speed, a recording has no clock: nothing in it happens at any time.
        self._pace = None if source.speed == "max" else Pace(source.speed)
        if self._pace is not None:
            compile_all(strided=False)  # before the clock runs, or the windows of the first seconds would be late
        self._histogrammer: WindowedHistogrammer | None = None
        self._scene: SceneFilter | None = None
        self._player: Player | None = None

    def figures(self) -> dict[str, Any]:
        """Counts, drops and omissions so far."""
        if self._histogrammer is not None:
            self._emitter.count_events(self._histogrammer.stats)
        omissions = {} if self._player is None else dict(self._player.omissions)
        return self._emitter.figures(self._scene) | {"omissions": omissions}

    def run(self, signals: Signals, report: StageReporter) -> None:
        """Send all windows and the end of the stream, even after a fault of the source, which is then raised."""
        self._emitter.emit_stream(partial(self._read, signals, report), signals, report)

    def _read(self, signals: Signals, report: StageReporter) -> None:
        source, counters = self._source, self._emitter.counters
        playlist = open_playlist(
            source.where,
            sensor=source.sensor,
            on_disorder=source.on_disorder,
            on_damage=source.on_damage,
            shuffle=source.shuffle,
            seed=source.seed,
        )
        excerpt = source.excerpt
        resume_us = resume_at(source, self._window, counters)
        if resume_us is not None and not can_be_reread(source):
            playlist, excerpt = continued(playlist, excerpt, counters, resume_us)
        view = View.of(playlist.sensor, source.scene, self._window.shape, self._window.field)
        self._scene = scene = SceneFilter(playlist.sensor, source.scene, view)
        self._histogrammer = histogrammer = self._window.histogrammer(view, resume_us)
        self._player = player = Player(playlist, excerpt)
        poll = _poller(signals, report)

        def emit(windows: Iterable[Window]) -> None:
            for window in windows:
                if self._judged:
                    self._note(window, player.truth, report)
                self._emitter.emit(window, playlist.sensor, self._ended_ns(window))
                self._emitter.count_events(histogrammer.stats)  # not with each packet: there are far too many of them

        def emit_until_stopped(windows: Iterator[Window]) -> None:
            for window in windows:  # a long silence in a recording is many windows
                emit((window,))
                poll()

        with closing(iter(player)) as packets:
            try:
                new = packets if resume_us is None else skip_before(packets, resume_us)
                for packet in self._paced(new, poll, signals, report):
                    emit_until_stopped(histogrammer.push(scene.see(packet)))
                emit_until_stopped(histogrammer.finish())
            except Stopped:
                pass
            finally:
                # Whatever ended the reading, what was binned before is still sent.
                if not signals.aborted():
                    emit(histogrammer.stop())
                self._emitter.count_events(histogrammer.stats)

    def _paced(
        self, packets: Iterable[EventPacket], poll: Callable[[], None], signals: Signals, report: StageReporter
    ) -> Iterable[EventPacket]:
        def poll_signals() -> Iterator[EventPacket]:
            compiled = self._pace is None
            for packet in packets:
                poll()
                if not compiled and is_strided(packet):
                    compile_all()  # the clock begins with the first event, so nothing is late if the first packet is
                    compiled = True
                yield packet

        def sleep(seconds: float) -> None:
            self._emitter.pause(min(seconds, LONGEST_SLEEP_S), signals, report)

        return poll_signals() if self._pace is None else paced(poll_signals(), self._pace, sleep=sleep)

    def _ended_ns(self, window: Window) -> int | None:
        return None if self._pace is None else round(self._pace.due_s(window.t_end_us) * 1e9)

    def _note(self, window: Window, truth: Truth, report: StageReporter) -> None:
        """Report to the supervisor, and to no other stage, what a window shows."""
        span = truth.of(self._window.judged_from_us(window), window.t_end_us)
        if span is not None:
            report.note(
                GroundTruth(
                    stream=self._source.stream,
                    seq=self._emitter.counters.received,  # the window is noted before it is sent
                    trial=span.trial,
                    label=span.label,
                    subject=span.subject,
                    since_us=window.t_end_us - span.start_us,
                )
            )


def _poller(signals: Signals, report: StageReporter) -> Callable[[], None]:
    """Return a function that reports and raises `Stopped` if the pipeline is to stop, but not too often."""
    next_s = 0.0

    def poll() -> None:
        nonlocal next_s
        now_s = time.monotonic()
        if now_s < next_s:
            return
        next_s = now_s + POLL_S
        report.beat()
        if signals.stop.is_set() or signals.aborted():
            raise Stopped

    return poll
