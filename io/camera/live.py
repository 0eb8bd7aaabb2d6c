"""A live camera as a source of packets: there, gone, and back again, in one time that goes on.

    with open_camera("dv://") as camera:
        for packet in camera:  # for ever; a packet without events says in `until_us` how far the time has come
            ...

The packets are checked as those of a recording are (`eventveil.io.source`), but a camera cannot be read again: events
off the sensor are left out, times are put right, and all of it is counted.
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
from eventveil.io.camera.uri import CameraUri
from eventveil.io.validation.checks import first_fault

READ_TIMEOUT_S = 0.02  # how long a read waits at most
RETRY_DELAYS_S = (0.1, 0.2, 0.5, 1.0, 2.0)  # between two attempts to open a camera; the last one again and again
QUIET_MS = 100


@dataclass(frozen=True, slots=True)
class CameraCounters:
    """What became of the events of a camera: `read == delivered + dropped + late + damaged`, behind every packet.

    Attributes:
        read: events that the driver handed over.
        delivered: events in the packets that were given out.
        dropped: events given up because they were too old, or too many to be kept.
        late: events that came behind the promise of a packet without events.
        damaged: events that are not on the sensor, or not of a polarity.
        clipped: events among the delivered ones whose time stepped back and was put right.
        packets: packets that the driver was made to give up unopened, because they were too old.
        jumps: how often the camera's clock did not go on evenly.
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
    """A camera, and whoever takes its place when it is back.

    Args:
        uri: which one.
        tuning: what it is told whenever it is opened.
        max_age_ms: events that have waited longer are given up in the camera's process; None: only those that are too
            many to be kept.
        quiet_ms: how long nothing must have come before the stream's time goes on without events.

    Attributes:
        incidents: what happened to the stream since somebody last cleared this: "overflow" (the camera or its driver
            lost events), "backlog" (old events were given up here), "away" (the camera was gone), "clock" (its clock
            did not go on evenly).
    """

    def __init__(
        self,
        uri: CameraUri,
        tuning: Tuning | None = None,
        *,
        max_age_ms: int | None = None,
        quiet_ms: int = QUIET_MS,
    ) -> None:
        self.uri = uri
        self.incidents: set[str] = set()
        self._tuning = tuning or Tuning()
        self._max_age_ms = max_age_ms
        self._clock = CameraClock(quiet_ms * 1000)
        self._link: CameraLink | None = None
        self._info: CameraInfo | None = None
        self._before = Totals()  # of connections that have ended
        self._now = Totals()
        self._delivered = 0
        self._damaged = 0

    @property
    def info(self) -> CameraInfo:
        """What is known of the camera that was opened last."""
        assert self._info is not None, "connect first"
        return self._info

    @property
    def sensor(self) -> Sensor:
        """Its geometry, as the camera tells it."""
        assert self.info.sensor is not None
        return self.info.sensor

    @property
    def counters(self) -> CameraCounters:
        """What became of all events so far."""
        return CameraCounters(
            read=self._before.read + self._now.read,
            delivered=self._delivered,
            dropped=self._before.dropped + self._now.dropped,
            late=self._clock.late,
            damaged=self._damaged,
            clipped=self._clock.clipped,
            packets=self._before.packets + self._now.packets,
            jumps=self._clock.jumps,
        )

    def connect(self, within_s: float | None, rest: Callable[[float], None] = time.sleep) -> None:
        """Open the camera; where it is not there, try again and again, with growing pauses.

        Args:
            within_s: for how long; 0: once, None: for ever.
            rest: waits for so many seconds, or raises what ends the waiting.

        Raises:
            CameraError: it is not there, was not in time, or cannot be opened as asked.
        """
        deadline = None if within_s is None else time.monotonic() + within_s
        for pause_s in _retry_delays():
            try:
                self._open(rest)
            except CameraError as error:
                if not error.passing or (deadline is not None and time.monotonic() + pause_s > deadline):
                    raise
            else:
                return
            rest(pause_s)

    def read(self) -> EventPacket | None:
        """Return the next packet; one without events says how far the time has come. None: nothing to be said yet.

        Waits for 20 ms at most.

        Raises:
            CameraError: the camera is gone; `connect` waits for it, and the stream's time goes on.
        """
        assert self._link is not None, "connect first"
        try:
            frame = self._link.read(READ_TIMEOUT_S)
        except CameraError:
            self._disconnect()
            raise
        return None if frame is None else self._process_frame(frame)

    def resume(self, until_us: int, at_ns: int) -> None:
        """Go on with a stream that another process read: how far it had come, and when, on the monotonic clock."""
        self._clock.resume(until_us, at_ns)

    def not_before(self, until_us: int) -> None:
        """Give out no event before this time of the stream any more."""
        self._clock.not_before(until_us)

    def close(self) -> None:
        """Give the camera back. May be called twice."""
        if self._link is not None:
            self._disconnect()

    def _open(self, rest: Callable[[float], None]) -> None:
        link = CameraLink(self.uri, self._tuning, self._max_age_ms)
        try:
            while link.info is None:
                link.read(READ_TIMEOUT_S)
                rest(0)
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
            return packet
        return self._clock.quiet(head.stamp_ns) if head.kind == TICK else None

    def _place(self, packet: EventPacket, received_ns: int) -> EventPacket:
        clock = self._clock
        if first_fault(packet, self.sensor, clock.floor_us) is None and clock.goes_on(int(packet.t[-1]), received_ns):
            return clock.take(packet, received_ns)
        jumps = clock.jumps
        placed = clock.place(self._on_the_sensor(packet), received_ns)
        if clock.jumps > jumps:
            self.incidents.add("clock")
        return placed

    def _on_the_sensor(self, packet: EventPacket) -> EventPacket:
        sensor = self.sensor
        kept = (packet.x < sensor.width) & (packet.y < sensor.height) & (packet.p.view(np.uint8) <= 1)
        self._damaged += len(packet) - int(np.count_nonzero(kept))
        return EventPacket(packet.t[kept], packet.x[kept], packet.y[kept], packet.p[kept])


@contextmanager
def open_camera(uri: str, tuning: Tuning | None = None, *, max_age_ms: int | None = None) -> Iterator[OpenCamera]:
    """Open a live camera, to iterate over its packets until it is unplugged.

    Args:
        uri: `dv://`, `dv://SERIAL`, `dv+tcp://HOST:PORT`, `dv+unix:///PATH`, `prophesee://`, `prophesee://SERIAL`.
        tuning: what it is told.
        max_age_ms: events that have waited longer are given up; None: only those that are too many to be kept.

    Raises:
        ConfigError: the URI is not one of a camera.
        CameraError: it is not there, or cannot be opened as asked.
    """
    camera = LiveCamera(CameraUri.parse(uri), tuning, max_age_ms=max_age_ms)
    try:
        camera.connect(within_s=0)
        yield OpenCamera(camera)
    finally:
        camera.close()


class OpenCamera:
    """The packets of a camera that is open: an iterator that ends with a `CameraError` when the camera is gone.

    Attributes:
        sensor: its geometry.
        info: what else is known of it.
    """

    def __init__(self, camera: LiveCamera) -> None:
        self.sensor = camera.sensor
        self.info = camera.info
        self._camera = camera

    @property
    def counters(self) -> CameraCounters:
        """What became of all events so far."""
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
