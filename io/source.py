"""The front door of recorded events: `open_events`, and what it gives back."""

from __future__ import annotations

from collections import Counter, deque
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

from eventveil.errors import EventError, EventFileError
from eventveil.events import EventPacket, Sensor
from eventveil.io.detect import locate, open_reader
from eventveil.io.formats.reader import Reader

if TYPE_CHECKING:
    from eventveil.io.validation.checks import Fault
    from eventveil.io.validation.gate import Gate

Disorder = Literal["raise", "sort", "clip"]


def open_events(
    path_or_uri: str | Path, *, sensor: Sensor | None = None, on_disorder: Disorder = "raise"
) -> EventSource:
    """Open a recording, whatever its format; the format is found by content first, by extension second.

        with open_events("trial.npy?unit=ms", sensor=Sensor(128, 128)) as source:
            for packet in source:
                ...

    Args:
        path_or_uri: a path, or a `file://` URI; options of the format may stand behind a `?`.
        sensor: geometry of the camera. Needed where the file holds none; where it does, it must be the same.
        on_disorder: what happens where time goes back. "raise": an `EventFileError`. "clip": times are raised to the
            latest before them. "sort": events are sorted, with one packet held back; what is later still is clipped.
            Repairs are counted in `EventSource.disorders`.

    Raises:
        EventFileError: there is no such file, or it is of no known format, or its header is damaged, or the
            geometry is missing or contradicted, or an option is unknown.
        EventError: `on_disorder` is none of the three.
    """
    if on_disorder not in get_args(Disorder):
        raise EventError(f"on_disorder is one of {', '.join(get_args(Disorder))}; got {on_disorder!r}")
    path, options = locate(path_or_uri)
    reader = open_reader(path, options)
    try:
        reader.sensor = _settle(reader, sensor)
    except EventFileError:
        reader.close()
        raise
    from eventveil.io.validation.gate import (
        Gate,  # here, because it compiles: who only imports this module need not wait
    )

    return EventSource(reader, Gate(reader.sensor, on_disorder))


class EventSource:
    """Packets of a recording, checked: a context manager and an iterator of `EventPacket`.

    Times never decrease, neither in a packet nor from packet to packet, and every event lies on the sensor. At a fault
    all good events before it come first, then an `EventFileError`. Where that is `recoverable`, iterating on
    continues behind the damaged packet; what was lost with it is in `skipped`. (An event that damage has dated far
    ahead, and that no checksum betrays, makes faults of all packets up to that time: order is never given up.)

    Attributes:
        sensor: geometry, from the file or as given.
    """

    def __init__(self, reader: Reader, gate: Gate) -> None:
        self.sensor = gate.sensor
        self._reader = reader
        self._gate = gate
        self._ready: deque[EventPacket | EventFileError] = deque()
        self._packets = 0
        self._ended = False

    @property
    def path(self) -> Path:
        """The file."""
        return self._reader.path

    @property
    def format(self) -> str:
        """Name of the format, as "AEDAT4"."""
        return self._reader.format

    @property
    def metadata(self) -> dict[str, Any]:
        """What else the header tells (camera, date, ...), as plain JSON values."""
        return self._reader.metadata

    @property
    def skipped(self) -> Counter[str]:
        """What was read and left out so far, by reason."""
        return self._reader.skipped

    @property
    def disorders(self) -> int:
        """How many events came too late and were put right so far; 0 under "raise"."""
        return self._gate.disorders

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> EventPacket:
        while not self._ready:
            if self._ended:
                raise StopIteration
            self._read()
        item = self._ready.popleft()
        if isinstance(item, EventFileError):
            raise item
        return item

    def close(self) -> None:
        """Give the file back; iteration ends. May be called twice."""
        self._ended = True
        self._ready.clear()
        self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self) -> None:
        try:
            packet = self._reader.read_packet()
        except EventFileError as error:
            self._deliver(self._gate.finish(), error)
        except OSError as error:
            self._ended = True
            fault = self._reader.fault(f"cannot be read on: {error.strerror or error}", "copy the file from its medium")
            self._deliver(self._gate.finish(), fault)
        else:
            self._ended = packet is None
            if packet is None:
                self._deliver(self._gate.finish())
            else:
                self._check(packet)

    def _check(self, packet: EventPacket) -> None:
        good, fault = self._gate.push(packet)
        self._packets += 1
        self._deliver(good)
        if fault is not None:
            self.skipped["event of a damaged packet"] += fault.lost
            self._deliver(self._gate.finish(), self._explain(fault))

    def _deliver(self, packet: EventPacket, error: EventFileError | None = None) -> None:
        if len(packet) or packet.until_us is not None:
            self._ready.append(packet)
        if error is not None:
            self._ready.append(error)

    def _explain(self, fault: Fault) -> EventFileError:
        expected, remedy = {
            "sensor": (
                f"an event lies outside the sensor of {self.sensor}",
                "state the sensor that recorded it (sensor=, --sensor WxH); if it is right, the packet is damaged",
            ),
            "polarity": ("a polarity is neither 0 nor 1", "the packet is damaged; read on to go without it"),
            "time": (
                "time goes back from one event to the next",
                'read on to go without the packet, or let times be repaired (on_disorder="clip" or "sort")',
            ),
        }[fault.rule]
        where = f"packet {self._packets - 1}, event {fault.event} in it"
        return self._reader.fault(expected, remedy, where=where, recoverable=True)


def _settle(reader: Reader, sensor: Sensor | None) -> Sensor:
    held = reader.sensor
    if held is None and sensor is None:
        raise reader.fault(
            "the file does not hold the geometry of its camera", "state it: sensor=Sensor(W, H), or --sensor WxH"
        )
    if held is not None and sensor is not None and held != sensor:
        raise reader.fault(
            f"the file was recorded on a sensor of {held}, not {sensor}", f"leave the sensor out, or state {held}"
        )
    return held or sensor  # type: ignore[return-value]  # one of them is there
