"""A live camera as a source of packets whose time keeps advancing while the camera is unplugged and plugged in again.

    with open_camera("dv://") as camera:
        for packet in camera:  # endless; `until_us` of a packet without events says how far time has advanced
            ...

The packets pass the same checks as those of a recording (`eventveil.io.source`), but a camera cannot be read again:
events off the sensor are left out, times are repaired, and both are counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from eventveil.errors import CameraError
from eventveil.events import EventPacket, Sensor
from eventveil.io.camera.clock import CameraClock
from eventveil.io.camera.device import CameraInfo, Tuning
from eventveil.io.camera.frames import BACKLOG, EVENTS, OVERFLOW, TICK, Frame, Totals
from eventveil.io.camera.link import CameraLink
from eventveil.io.camera.offset import ClockOffset
from eventveil.io.camera.uri import CameraUri
from eventveil.io.validation.checks import compile_checks, first_fault

READ_TIMEOUT_S = 0.02  # the longest that a read waits
RETRY_DELAYS_S = (0.1, 0.2, 0.5, 1.0, 2.0)  # between attempts to open a camera; the last one repeats
QUIET_MS = 100


@dataclass(frozen=True, slots=True)
class CameraCounters:
    """Event counts of a camera: `read == delivered + dropped + late + damaged` after every packet.

    Attributes:
        read: events that the driver delivered.
        delivered: events in the packets that were returned.
        dropped: events discarded because they were too old, or because the queue was full.
        late: events earlier than the `until_us` of a packet without events.
        damaged: events off the sensor, with an invalid polarity, or with a time far from all others; those whose time
            the next ones may still confirm are among them until then.
        clipped: delivered events whose time stepped back and was repaired.
        packets: packets that the driver discarded unread, because they were too old.
        jumps: how often the camera's clock did not advance evenly.
    """

    read: int = 0
    delivered: int = 0
    dropped: int = 0
    late: int = 0
    damaged: int = 0
    clipped: int = 0
    packets: int = 0
    jumps: int = 0


class LiveCamera:
    """A camera, or the one that replaces it after a reconnection.

    Args:
        uri: which camera.
        tuning: its settings, applied each time it is opened.
        max_age_ms: the camera's process discards events that have waited longer; None: only when its queue is full.
        quiet_ms: how long the camera must be silent before the stream's time advances without events.

    Attributes:
        incidents: what happened to the stream since the caller last cleared this: "overflow" (the camera or its driver
            lost events), "backlog" (old events were discarded here), "away" (the camera was gone), "clock" (its clock
            did not advance evenly).
    """

    def __init__(
        self,
        uri: CameraUri,
        tuning: Tuning | None = None,
        *,
        max_age_ms: int | None = None,
        quiet_ms: int = QUIET_MS,
    ) -> None:
        compile_checks()
        self.uri = uri
        self.incidents: set[str] = set()
        self._tuning = tuning or Tuning()
        self._max_age_ms = max_age_ms
        self._clock = CameraClock(quiet_ms * 1000)
        self._offset = ClockOffset()
        self._link: CameraLink | None = None
        self._info: CameraInfo | None = None
        self._before = Totals()  # of previous connections
        self._now = Totals()
        self._delivered = 0
        self._damaged = 0

    @property
    def info(self) -> CameraInfo:
        """What is known about the camera opened last."""
        assert self._info is not None, "connect first"
        return self._info

    @property
    def sensor(self) -> Sensor:
        """The geometry that the camera reports."""
        assert self.info.sensor is not None
        return self.info.sensor

    @property
    def counters(self) -> CameraCounters:
        """The counts of all events so far."""
        return CameraCounters(
            read=self._before.read + self._now.read,
            delivered=self._delivered,
            dropped=self._before.dropped + self._now.dropped,
            late=self._clock.late,
            damaged=self._damaged + self._clock.outlying + self._clock.held,
            clipped=self._clock.clipped,
            packets=self._before.packets + self._now.packets,
            jumps=self._clock.jumps,
        )

    def connect(self, within_s: float | None, sleep: Callable[[float], None] = time.sleep) -> None:
        """Open the camera; while it is missing, retry with growing delays.

        Args:
            within_s: how long to retry; 0: try once, None: retry forever.
            sleep: waits for a number of seconds, or raises to stop waiting.

        Raises:
            CameraError: it is missing, did not appear in time, or cannot be opened as requested.
        """
        deadline = None if within_s is None else time.monotonic() + within_s
        for delay_s in _retry_delays():
            try:
                self._open(sleep)
            except CameraError as error:
                if not error.passing or (deadline is not None and time.monotonic() + delay_s > deadline):
                    raise
            else:
                return
            sleep(delay_s)

    def read(self) -> EventPacket | None:
        """Return the next packet; one without events says how far time has advanced. None: nothing new yet.

        Waits for at most 20 ms.

        Raises:
            CameraError: the camera is gone; `connect` waits for it while the stream's time advances.
        """
        assert self._link is not None, "connect first"
        try:
            frame = self._link.read(READ_TIMEOUT_S)
        except CameraError:
            self._disconnect()
            raise
        return None if frame is None else self._process_frame(frame)

    def resume(self, until_us: int, at_ns: int) -> None:
        """Continue a stream of another process, which had reached `until_us` at `at_ns` of the monotonic clock."""
        self._clock.resume(until_us, at_ns)
        self._offset.start(until_us, at_ns)

    def machine_ns(self, t_us: int) -> int:
        """Estimate when the stream's time was `t_us`, on this machine's monotonic clock."""
        return self._offset.at_ns(t_us)

    def not_before(self, until_us: int) -> None:
        """Return no more events before this time of the stream."""
        self._clock.not_before(until_us)

    def close(self) -> None:
        """Close the camera. May be called twice."""
        if self._link is not None:
            self._disconnect()

    def _open(self, sleep: Callable[[float], None]) -> None:
        link = CameraLink(self.uri, self._tuning, self._max_age_ms)
        try:
            while link.info is None:
                link.read(READ_TIMEOUT_S)
                sleep(0)
        except BaseException:
            link.close()
            raise
        if self._info is not None:
            self.incidents.add("away")
        self._link, self._info = link, link.info
        self._clock.reconnect()

    def _disconnect(self) -> None:
        assert self._link is not None
        self._link.close()
        self._link = None
        self._before, self._now = self._before + self._now, Totals()

    def _process_frame(self, frame: Frame) -> EventPacket | None:
        head = frame.head
        self._now = head.totals
        if head.flags & OVERFLOW:
            self.incidents.add("overflow")
        if head.flags & BACKLOG:
            self.incidents.add("backlog")
        if head.kind == EVENTS:
            events = frame.events
            packet = self._place(EventPacket(events["t"], events["x"], events["y"], events["p"]), head.stamp_ns)
            self._delivered += len(packet)
            if len(packet):
                self._offset.observe(int(packet.t[-1]), head.stamp_ns)
            return packet
        return self._clock.quiet(head.stamp_ns) if head.kind == TICK else None

    def _place(self, packet: EventPacket, received_ns: int) -> EventPacket:
        clock = self._clock
        if first_fault(packet, self.sensor, clock.floor_us) is None and clock.can_reach(int(packet.t[-1]), received_ns):
            return clock.take(packet, received_ns)
        jumps = clock.jumps
        placed = clock.place(self._on_the_sensor(packet), received_ns)
        if clock.jumps > jumps:
            self.incidents.add("clock")
        return placed

    def _on_the_sensor(self, packet: EventPacket) -> EventPacket:
        sensor = self.sensor
        valid = (packet.x < sensor.width) & (packet.y < sensor.height) & (packet.p.view(np.uint8) <= 1)
        self._damaged += len(packet) - int(np.count_nonzero(valid))
        return EventPacket(packet.t[valid], packet.x[valid], packet.y[valid], packet.p[valid])


@contextmanager
def open_camera(uri: str, tuning: Tuning | None = None, *, max_age_ms: int | None = None) -> Iterator[OpenCamera]:
    """Open a live camera and iterate over its packets until it is unplugged.

    Args:
        uri: `dv://`, `dv://SERIAL`, `dv+tcp://HOST:PORT`, `dv+unix:///PATH`, `prophesee://`, `prophesee://SERIAL`.
        tuning: its settings.
        max_age_ms: events that have waited longer are discarded; None: only when the queue is full.

    Raises:
        ConfigError: the URI does not name a camera.
        CameraError: it is missing, or cannot be opened as requested.
    """
    camera = LiveCamera(CameraUri.parse(uri), tuning, max_age_ms=max_age_ms)
    try:
        camera.connect(within_s=0)
        yield OpenCamera(camera)
    finally:
        camera.close()


class OpenCamera:
    """The packets of an open camera: an iterator that raises a `CameraError` when the camera is gone.

    Attributes:
        sensor: its geometry.
        info: what else is known about it.
    """

    def __init__(self, camera: LiveCamera) -> None:
        self.sensor = camera.sensor
        self.info = camera.info
        self._camera = camera

    @property
    def counters(self) -> CameraCounters:
        """The counts of all events so far."""
        return self._camera.counters

    def __iter__(self) -> Iterator[EventPacket]:
        while True:
            packet = self._camera.read()
            if packet is not None:
                yield packet


def _retry_delays() -> Iterator[float]:
    yield from RETRY_DELAYS_S
    while True:
        yield RETRY_DELAYS_S[-1]
