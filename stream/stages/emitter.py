"""The output side of a source: windows get their number, time and origin here, and are counted and sent."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from eventveil.errors import LineError
from eventveil.events import Sensor, Window
from eventveil.stream.histogram import HistogramStats
from eventveil.stream.histogram.density import DensityMeter
from eventveil.stream.preprocess.view import SceneFilter
from eventveil.stream.runtime.accounting import COMPLETE, FAILED, StageCounters
from eventveil.stream.runtime.edge_queue import EdgeSender
from eventveil.stream.runtime.message import CameraNotice, StageMessage
from eventveil.stream.runtime.reporting import StageReporter
from eventveil.stream.runtime.signals import Signals
from eventveil.stream.runtime.windows import Origin, RawWindow


class Stopped(Exception):  # noqa: N818 - not an error: the user stopped the pipeline
    """The pipeline is to stop."""


class WindowEmitter:
    """Sends the windows of one source to the next stage, and counts them and their events.

    Args:
        stream: name of the source.
        sender: the edge to the next stage.
        counters: counters of the stage; after a restart they hold what was made before it.
        pixels: width times height of a window.
        release_ms: delay from the end of a window to its publication.

    Attributes:
        counters: the stage's counters of this stream; `received` is the number of the next window.
    """

    def __init__(self, stream: str, sender: EdgeSender, counters: StageCounters, pixels: int, release_ms: int) -> None:
        self.counters = counters[stream]
        self._stream = stream
        self._sender = sender
        self._stage = counters
        self._release_ns = release_ms * 1_000_000
        self._density = DensityMeter(pixels)
        self.start_histogrammer()

    def start_histogrammer(self) -> None:
        """Add the events of the next histogrammer to those counted so far."""
        stage = self._stage
        self._before = HistogramStats(stage.events, stage.binned, stage.late, stage.outside, stage.saturated)

    def count_events(self, stats: HistogramStats) -> None:
        """Count the events of the present histogrammer."""
        self._stage.events = self._before.received + stats.received
        self._stage.binned = self._before.binned + stats.binned
        self._stage.late = self._before.late + stats.late
        self._stage.outside = self._before.outside + stats.outside
        self._stage.saturated = self._before.saturated + stats.saturated

    def emit(
        self, window: Window, sensor: Sensor, ended_ns: int | None, incidents: dict[str, int] | None = None
    ) -> None:
        """Send a window.

        Args:
            window: the next one of the stream.
            sensor: geometry of the camera, before crop and scale.
            ended_ns: when it ended, on this machine's monotonic clock; None if the source has no clock.
            incidents: what happened to the camera so far, by kind.
        """
        counters = self.counters
        origin = Origin(
            self._stream,
            sensor,
            counters.received,
            window.t_start_us,
            window.t_end_us,
            ended_ns=time.monotonic_ns() if ended_ns is None else ended_ns,
            release_ns=None if ended_ns is None else ended_ns + self._release_ns,
            incidents=incidents or {},
        )
        if not counters.received:
            counters.start_us = window.t_start_us
        counters.until_us, counters.ended_ns = window.t_end_us, origin.ended_ns
        counters.received += 1
        self._density.add(window.events)
        self._sender.put(StageMessage(self._stream, RawWindow(origin, window.counts)))

    def notify(self, notice: CameraNotice) -> None:
        """Send a notice about the camera."""
        self._sender.put(StageMessage(self._stream, None, notice=notice))

    def emit_stream(self, read: Callable[[], None], signals: Signals, report: StageReporter) -> None:
        """Call `read`, which emits all windows, and then send the end of the stream.

        The end is sent even if `read` raises, then as that of a failed stream; the error is raised afterwards. An ended
        stream is not read again, and a stream whose pipeline was aborted has no end.

        Raises:
            LineError: the source had failed, and the process that knew the reason died.
        """
        fault: Exception | None = None
        try:
            if not self.counters.ended:
                read()
            elif self.counters.ended == FAILED:
                fault = LineError("the source failed, and its process died before it could report the reason")
        except Exception as error:
            fault = error
        if not signals.aborted():
            self.counters.ended = COMPLETE if fault is None else FAILED
            self._sender.put(StageMessage(self._stream, None, made=self.counters.received, failed=fault is not None))
        while not signals.aborted() and not self._sender.drain(0.5):
            report.beat()
        if fault is not None:
            raise fault

    def pause(self, seconds: float, signals: Signals, report: StageReporter) -> None:
        """Send what waits, report, and sleep.

        Raises:
            Stopped: the pipeline is to stop.
        """
        self._sender.flush()
        report.beat()
        if signals.stop.wait(seconds) or signals.aborted():
            raise Stopped

    def figures(self, scene: SceneFilter | None) -> dict[str, Any]:
        """Counts, drops and values so far, with those of the filter before the histogrammer."""
        stage, counters = self._stage, self.counters
        events = {"received": stage.events, "binned": stage.binned, "late": stage.late, "outside": stage.outside}
        events |= {"saturated": stage.saturated} | ({} if scene is None else scene.counts())
        counts = events | {"windows": counters.received, "sent": counters.sent, "waiting": self._sender.windows}
        return {"counts": counts, "dropped": stage.dropped(), "values": self._density.values()}
