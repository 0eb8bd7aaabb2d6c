"""The histogram stage of a live camera: windows while it is there, a word when it is not, and on again when it is back.

What differs from a recording: nobody knows the geometry before the camera is open; it may be gone at any moment, and
another one may come back in its place; and a window that closes while nothing moves closes by the clock.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from typing import Any

from eventveil.errors import CameraError
from eventveil.events import EventPacket, Sensor, Window
from eventveil.io.camera.device import Tuning
from eventveil.io.camera.live import LiveCamera
from eventveil.io.camera.uri import CameraUri
from eventveil.stream.histogram import WindowedHistogrammer
from eventveil.stream.plan import WindowPlan
from eventveil.stream.preprocess.view import SceneFilter, View
from eventveil.stream.runtime.accounting import CRASH, StageCounters
from eventveil.stream.runtime.edge_queue import EdgeSender
from eventveil.stream.runtime.message import CameraNotice, StageMessage
from eventveil.stream.runtime.reporting import StageReporter
from eventveil.stream.runtime.signals import Signals
from eventveil.stream.settings import SourceSettings
from eventveil.stream.stages.recording import RecordingSource, Stopped


class CameraSource(RecordingSource):
    """Reads one camera until the line is stopped, or the camera stays away for too long.

    Each time the camera is there, a histogrammer begins anew: windows do not reach over a gap, and a camera of another
    geometry may take the place of the first. Numbers and times go on.

    Args:
        source: which camera, and what it is told.
        window: how to cut its events into windows.
        outbox: where the windows go.
        page: the stage's books: of one that is started anew, with what was made before.
        max_age_ms: events that have waited longer are given up before they are read; None: only those that are too
            many to be kept.
    """

    def __init__(
        self,
        source: SourceSettings,
        window: WindowPlan,
        outbox: EdgeSender,
        page: StageCounters,
        *,
        max_age_ms: int | None,
    ) -> None:
        super().__init__(source, window, outbox, page)
        self._settings = settings = source.camera
        self._camera = LiveCamera(
            CameraUri.parse(source.uri),
            Tuning(biases=settings.biases, roi=settings.roi, max_event_rate=settings.max_event_rate),
            max_age_ms=max_age_ms,
            quiet_ms=settings.quiet_ms,
        )
        self._away = True
        self._losses = 0
        self._looked_at: tuple[Sensor, str | None] | None = None
        self._anew = self._entry.received > 0
        if self._anew:
            self._camera.resume(self._entry.until_us, self._entry.closed_ns)
        self._stop_us: int | None = None

    def figures(self) -> dict[str, Any]:
        """Counts and drops so far, with the camera's books."""
        figures = super().figures()
        camera = {f"camera_{name}": count for name, count in asdict(self._camera.counters).items()}
        figures["counts"] |= camera | {"camera_losses": self._losses, "camera_away": int(self._away)}
        return figures

    def _read(self, signals: Signals, report: StageReporter) -> None:
        def rest(seconds: float) -> None:
            self._outbox.flush()
            report.beat()
            if signals.stop.wait(seconds) or signals.aborted():
                raise Stopped

        with closing(self._camera):
            try:
                self._camera.connect(None if self._settings.wait else 0.0, rest)
                while self._watch(signals, rest):
                    self._say("camera_lost")
                    self._camera.connect(self._settings.reconnect_s, rest)
                    self._say("camera_back")
            except Stopped:
                pass

    def _watch(self, signals: Signals, rest: Any) -> bool:
        """Read while the camera is there; return True where it was lost, and False where enough was read."""
        self._away = False
        scene = self._look()
        histogrammer = self._window.histogrammer(scene.view)
        try:
            while True:
                rest(0)
                packet = self._camera.read()
                if packet is None:
                    continue
                packet, enough = self._until_stop(packet)
                for window in histogrammer.push(scene.see(packet)):
                    self._send(window, self._camera.sensor)
                self._count(histogrammer.stats)
                if enough:
                    return False
        except CameraError:
            self._losses += 1
            self._away = True
            return True
        finally:
            if not signals.aborted():
                self._finish(histogrammer)

    def _look(self) -> SceneFilter:
        """The scene of the camera that is there now: the same one, where it is the same camera."""
        camera = (self._camera.sensor, self._camera.info.serial)
        if self._scene is None or camera != self._looked_at:
            sensor, serial = self._looked_at = camera
            view = View.of(sensor, self._source.scene, self._window.size, self._window.field)
            self._scene = SceneFilter(sensor, self._source.scene, view, serial=serial)
        return self._scene

    def _finish(self, histogrammer: WindowedHistogrammer) -> None:
        """Send what is left, and let the next histogrammer take up where this one ends."""
        for window in histogrammer.finish():
            self._send(window, self._camera.sensor)
        self._count(histogrammer.stats)
        self._before = self._counted()

    def _send(self, window: Window, sensor: Sensor) -> None:
        self._camera.not_before(window.t_end_us)  # no bin is filled, or published, twice
        hop_us = self._window.hop_us
        if self._anew and hop_us is not None:
            # What would have been seen since the stage's process died was not; there is a gap, and it is counted.
            missed = max(0, window.t_start_us - self._entry.until_us) // hop_us
            self._entry.received += missed
            self._entry.drop(CRASH, missed)
        self._anew = False
        super()._send(window, sensor)

    def _incidents(self) -> dict[str, int]:
        for kind in self._camera.incidents:
            setattr(self._page, kind, getattr(self._page, kind) + 1)
        self._camera.incidents.clear()
        return self._page.incidents()

    def _until_stop(self, packet: EventPacket) -> tuple[EventPacket, bool]:
        """Leave out what lies behind the end that the settings name; tell whether that has come."""
        stop_us = self._source.excerpt.stop_us
        if stop_us is None:
            return packet, False
        if self._stop_us is None:
            if not len(packet):
                return packet, False
            self._stop_us = int(packet.t[0]) + stop_us
        come_to_us = packet.until_us if packet.until_us is not None else int(packet.t[-1]) if len(packet) else None
        if come_to_us is None or come_to_us < self._stop_us:
            return packet, False
        kept = packet[: int(packet.t.searchsorted(self._stop_us))]
        return EventPacket(kept.t, kept.x, kept.y, kept.p, self._stop_us), True

    def _say(self, notice: CameraNotice) -> None:
        self._outbox.put(StageMessage(self._source.stream, None, notice=notice))
