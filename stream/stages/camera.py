"""The histogram stage of a live camera: emits windows while it is attached, and notices when it leaves and returns.

A camera differs from a recording. Its geometry is unknown until it is open; it may vanish at any moment, and another
one may take its place; and while nothing moves, its windows close by the clock.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from functools import partial
from typing import Any

from eventveil.errors import CameraError
from eventveil.events import EventPacket, Sensor, Window
from eventveil.io.camera.device import Tuning
from eventveil.io.camera.live import LiveCamera
from eventveil.io.camera.uri import CameraUri
from eventveil.stream.histogram import WindowedHistogrammer
from eventveil.stream.histogram.kernels import compile_all
from eventveil.stream.planning.plan import WindowPlan
from eventveil.stream.preprocess.view import SceneFilter, View
from eventveil.stream.runtime.accounting import StageCounters
from eventveil.stream.runtime.edge_queue import EdgeSender
from eventveil.stream.runtime.reporting import StageReporter
from eventveil.stream.runtime.signals import Signals
from eventveil.stream.settings.pipeline import SourceSettings
from eventveil.stream.stages.emitter import Stopped, WindowEmitter


class CameraSource:
    """Reads one camera until the pipeline is stopped, or the camera stays away for too long.

    Implements `eventveil.stream.runtime.stage.Source`. Each time the camera is attached, a new histogrammer begins:
    windows do not span a gap, and a camera of another geometry may take the place of the first. Numbers and times
    continue.

    Args:
        source: which camera, and its settings.
        window: how to cut its events into windows.
        sender: where the windows go.
        counters: counters of the stage; after a restart they hold what was made before it.
        release_ms: delay from the end of a window to its publication.
        max_age_ms: events that have waited longer are dropped before they are read; None: only those that do not fit
            into memory.
    """

    def __init__(
        self,
        source: SourceSettings,
        window: WindowPlan,
        sender: EdgeSender,
        counters: StageCounters,
        *,
        release_ms: int,
        max_age_ms: int | None,
    ) -> None:
        self._source = source
        self._window = window
        self._counters = counters
        self._emitter = WindowEmitter(source.stream, sender, counters, window.size[0] * window.size[1], release_ms)
        compile_all()
        self._settings = settings = source.camera
        self._camera = LiveCamera(
            CameraUri.parse(source.uri),
            Tuning(biases=settings.biases, roi=settings.roi, max_event_rate=settings.max_event_rate),
            max_age_ms=max_age_ms,
            quiet_ms=settings.quiet_ms,
        )
        self._away = True
        self._losses = 0
        self._scene: SceneFilter | None = None
        self._scene_of: tuple[Sensor, str | None] | None = None  # geometry and serial number
        self._restarted = self._emitter.counters.received > 0
        if self._restarted:
            self._camera.resume(self._emitter.counters.until_us, self._emitter.counters.ended_ns)
        self._stop_us: int | None = None

    def figures(self) -> dict[str, Any]:
        """Counts and drops so far, with the camera's own."""
        figures = self._emitter.figures(self._scene)
        camera = {f"camera_{name}": count for name, count in asdict(self._camera.counters).items()}
        figures["counts"] |= camera | {"camera_losses": self._losses, "camera_away": int(self._away)}
        return figures

    def run(self, signals: Signals, report: StageReporter) -> None:
        """Send all windows and the end of the stream, even after a fault of the camera, which is then raised."""
        self._emitter.emit_stream(partial(self._read, signals, report), signals, report)

    def _read(self, signals: Signals, report: StageReporter) -> None:
        def pause(seconds: float) -> None:
            self._emitter.pause(seconds, signals, report)

        with closing(self._camera):
            try:
                self._camera.connect(None if self._settings.wait else 0.0, pause)
                while self._read_until_lost(signals, pause):
                    self._emitter.notify("camera_lost")
                    self._camera.connect(self._settings.reconnect_s, pause)
                    self._emitter.notify("camera_back")
            except Stopped:
                pass

    def _read_until_lost(self, signals: Signals, pause: Callable[[float], None]) -> bool:
        """Read while the camera is attached; return True once it is lost, False once the excerpt is over."""
        self._away = False
        scene = self._scene_filter()
        histogrammer = self._window.histogrammer(scene.view)
        try:
            while True:
                pause(0)
                packet = self._camera.read()
                if packet is None:
                    continue
                packet, over = self._cut_at_stop(packet)
                for window in histogrammer.push(scene.see(packet)):
                    self._emit(window)
                self._emitter.count_events(histogrammer.stats)
                if over:
                    return False
        except CameraError:
            self._losses += 1
            self._away = True
            return True
        finally:
            if not signals.aborted():
                self._finish(histogrammer)

    def _scene_filter(self) -> SceneFilter:
        """Return the filter for the attached camera: the same object as long as it is the same camera."""
        camera = (self._camera.sensor, self._camera.info.serial)
        if self._scene is None or camera != self._scene_of:
            sensor, serial = self._scene_of = camera
            view = View.of(sensor, self._source.scene, self._window.shape, self._window.field)
            self._scene = SceneFilter(sensor, self._source.scene, view, serial=serial)
        return self._scene

    def _finish(self, histogrammer: WindowedHistogrammer) -> None:
        """Emit what is left; the next histogrammer continues the counts of this one."""
        for window in histogrammer.finish():
            self._emit(window)
        self._emitter.count_events(histogrammer.stats)
        self._emitter.start_histogrammer()

    def _emit(self, window: Window) -> None:
        self._camera.not_before(window.t_end_us)  # no bin is filled, or published, twice
        hop_us, counters = self._window.hop_us, self._emitter.counters
        if self._restarted and hop_us is not None:
            # What happened since the stage's process died was not recorded; the gap is counted.
            # Counted from the ends of windows, which may overlap.
            counters.skip(max(0, (window.t_end_us - counters.until_us) // hop_us - 1))
        self._restarted = False
        ended_ns = self._camera.machine_ns(window.t_end_us)
        self._emitter.emit(window, self._camera.sensor, ended_ns, self._incidents())

    def _incidents(self) -> dict[str, int]:
        """Count the camera's latest incidents; return all so far, by kind."""
        for kind in self._camera.incidents:
            setattr(self._counters, kind, getattr(self._counters, kind) + 1)
        self._camera.incidents.clear()
        return self._counters.incidents()

    def _cut_at_stop(self, packet: EventPacket) -> tuple[EventPacket, bool]:
        """Leave out the events after the end of the excerpt; return whether that end has come."""
        stop_us = self._source.excerpt.stop_us
        if stop_us is None:
            return packet, False
        if self._stop_us is None:
            if not len(packet):
                return packet, False
            self._stop_us = int(packet.t[0]) + stop_us
        until_us = packet.until_us if packet.until_us is not None else int(packet.t[-1]) if len(packet) else None
        if until_us is None or until_us < self._stop_us:
            return packet, False
        kept = packet[: int(packet.t.searchsorted(self._stop_us))]
        return EventPacket(kept.t, kept.x, kept.y, kept.p, self._stop_us), True
