"""Open recordings: `open_events` returns an `EventSource` of checked packets."""

from __future__ import annotations

from collections import Counter, deque
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

from eventveil.errors import EventError, EventFileError
from eventveil.events import EventPacket, Sensor
from eventveil.io.detect import locate, open_reader
from eventveil.io.formats.reader import OUTLYING, SKIP, Reader

if TYPE_CHECKING:
    from eventveil.io.validation.checks import Fault
    from eventveil.io.validation.gate import Gate

Disorder = Literal["raise", "sort", "clip"]
Damage = Literal["stop", "skip"]

CORRECTED = "event out of order, with its time corrected"
TOLERATED = {"stop": 0.01, "skip": 0.5}  # share of invalid events in a packet that are left out alone


def open_events(
    path_or_uri: str | Path,
    *,
    sensor: Sensor | None = None,
    on_disorder: Disorder = "raise",
    on_damage: Damage = "stop",
) -> EventSource:
    r"""Open a recording of any supported format. The format is detected by content, then by file extension.

    Args:
        path_or_uri: a path or a `file://` URI; options of the format may follow after a `?`, as in `trial.npy?unit=ms`.
        sensor: geometry of the camera in pixels. Required if the file holds none; otherwise it must be the same.
        on_disorder: what to do if time goes back. "raise": raise an `EventFileError`. "clip": raise late times to the
            latest time before them. "sort": sort the events, holding back one packet, and clip what is later still.
            `EventSource.disorders` counts the repairs.
        on_damage: what to do with damaged bytes. "stop": raise an `EventFileError`; only isolated events off the sensor
            are left out, in formats of one word per event. "skip": leave out what is damaged, in any format, and go on;
            after a fault that ends the reading, leave out the rest. The error is raised only if nothing else is left.
            `EventSource.skipped` counts what is left out.

    Returns:
        The packets of the recording: an iterator and a context manager, which closes the file.

    Raises:
        EventFileError: the file does not exist or cannot be read, its format is unknown, its header is damaged, the
            geometry is missing or differs, or an option is unknown. Iterating raises it for damaged packets.
        EventError: `on_disorder` or `on_damage` has another value.

    Example:
        >>> import tempfile
        >>> text = "t,x,y,p\n10,3,7,1\n25,4,7,0\n"
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "trial.csv")
        ...     size = path.write_text(text)
        ...     with open_events(path, sensor=Sensor(128, 128)) as source:
        ...         [(packet.t.tolist(), packet.p.tolist()) for packet in source]
        [([10, 25], [True, False])]
    """
    if on_disorder not in get_args(Disorder):
        raise EventError(f"expected on_disorder as one of {', '.join(get_args(Disorder))}, got {on_disorder!r}")
    if on_damage not in get_args(Damage):
        raise EventError(f"expected on_damage as one of {', '.join(get_args(Damage))}, got {on_damage!r}")
    return check_packets(open_reader(*locate(path_or_uri)), sensor, on_disorder, on_damage)


def check_packets(
    reader: Reader, sensor: Sensor | None, on_disorder: Disorder, on_damage: Damage = "stop"
) -> EventSource:
    """Return the checked packets of an open reader.

    Args:
        reader: the file; closed on an error.
        sensor: as for `open_events`.
        on_disorder: as for `open_events`.
        on_damage: as for `open_events`.

    Raises:
        EventFileError: the geometry is missing or differs.
    """
    try:
        reader.sensor = _resolve_sensor(reader, sensor)
    except EventFileError:
        reader.close()
        raise
    from eventveil.io.validation.gate import Gate  # here, because it compiles: importing this module must stay fast

    tolerated = TOLERATED[on_damage] if reader.single_words or on_damage == "skip" else 0.0
    return EventSource(reader, Gate(reader.sensor, on_disorder, tolerated, reader.near_us), on_damage)


class EventSource:
    r"""The checked packets of a recording: a context manager and an iterator of `EventPacket`.

    Times never decrease, within a packet or from packet to packet, and every event lies on the sensor. At a fault, all
    valid events before it are returned first, then an `EventFileError` is raised. If that error is `recoverable`,
    iteration continues after the damaged packet; `skipped` counts what was lost with it. Isolated events whose time
    is far from all others are left out and counted; a packet whose last times are to be confirmed waits for the next.

    Attributes:
        sensor: geometry in pixels, from the file or as given to `open_events`.

    Raises:
        EventFileError: while iterating, for a fault in the file: damaged bytes, an event outside the sensor, an invalid
            polarity, or time that goes back under `on_disorder="raise"`.

    Example:
        >>> import tempfile
        >>> text = "# geometry 128x128\nt,x,y,p\n10,3,7,1\n5,4,7,0\n"
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "trial.csv")
        ...     size = path.write_text(text)
        ...     with open_events(path, on_disorder="clip") as source:
        ...         times = [packet.t.tolist() for packet in source]
        >>> times
        [[10, 10]]
        >>> source.format, str(source.sensor), source.disorders
        ('CSV', '128x128', 1)
    """

    def __init__(self, reader: Reader, gate: Gate, on_damage: Damage = "stop") -> None:
        self.sensor = gate.sensor
        self._reader = reader
        self._gate = gate
        self._skips = on_damage == "skip"
        self._unreported: EventFileError | None = None  # the first damage skipped, while no event has been delivered
        self._delivered = False
        self._ready: deque[EventPacket | EventFileError] = deque()
        self._packets = 0
        self._ended = False

    @property
    def path(self) -> Path:
        """The file."""
        return self._reader.path

    @property
    def format(self) -> str:
        """Name of the format, such as "AEDAT4"."""
        return self._reader.format

    @property
    def metadata(self) -> dict[str, Any]:
        """Other header fields (camera, date, ...), as plain JSON values."""
        return self._reader.metadata

    @property
    def skipped(self) -> Counter[str]:
        """How much was read and left out so far, by reason."""
        left_out = {"event off the sensor": self._gate.left_out, OUTLYING: self._gate.outlying}
        return self._reader.skipped + Counter(left_out)

    @property
    def disorders(self) -> int:
        """How many late events were repaired so far; 0 under "raise"."""
        return self._gate.disorders

    @property
    def omissions(self) -> Counter[str]:
        """What `skipped` and `disorders` count, together."""
        return self.skipped + Counter({CORRECTED: self.disorders})

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
        """Close the file and end the iteration. May be called twice."""
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
            self._flush()
            self._report_damage(error)
        except OSError as error:
            self._ended = True
            self._flush()
            fault = self._reader.fault(f"reading failed: {error.strerror or error}", "copy the file from its medium")
            self._ready.append(fault)
        else:
            self._ended = packet is None
            if packet is None:
                self._flush()
                if self._unreported is not None and not self._delivered:
                    self._ready.append(self._unreported)
            else:
                for checked in self._gate.push(packet):
                    self._take(*checked)

    def _flush(self) -> None:
        """Deliver all that the gate holds back."""
        for checked in self._gate.finish():
            self._take(*checked)
        self._deliver(self._gate.held_back())

    def _take(self, good: EventPacket, fault: Fault | None) -> None:
        """Deliver the events of a packet, and raise its fault after them."""
        self._packets += 1
        self._deliver(good)
        if fault is None:
            return
        self._reader.skipped["event of a damaged packet"] += fault.lost
        error = self._as_error(fault)
        if fault.rule == "time":
            self._ready.append(error)
        else:
            self._report_damage(error)

    def _report_damage(self, error: EventFileError) -> None:
        """Raise an error at its place, or go on after it if damage is to be skipped."""
        skip = self._skips and (error.recoverable or self._delivered)
        self._deliver(self._gate.held_back())
        if not skip:
            self._ready.append(error)
            return
        self._unreported = self._unreported or error
        if not error.recoverable:
            self._reader.skipped["rest of a damaged file"] += 1

    def _deliver(self, packet: EventPacket) -> None:
        if len(packet) or packet.until_us is not None:
            self._delivered |= len(packet) > 0
            self._ready.append(packet)

    def _as_error(self, fault: Fault) -> EventFileError:
        expected, remedy = {
            "sensor": (
                f"an event lies outside the sensor of {self.sensor}",
                f"state the sensor that recorded it (sensor=, --sensor WxH); if it is correct, {SKIP}",
            ),
            "polarity": (
                "a polarity is neither 0 nor 1",
                f"the packet is damaged; {SKIP}",
            ),
            "time": (
                "time goes back from one event to the next",
                'repair times: --on-disorder clip or sort, on_disorder="clip" or "sort"',
            ),
        }[fault.rule]
        where = f"packet {self._packets - 1}, event {fault.event} in it"
        return self._reader.fault(expected, remedy, where=where, recoverable=True)


def _resolve_sensor(reader: Reader, sensor: Sensor | None) -> Sensor:
    stored = reader.sensor
    if stored is not None and sensor is not None and stored != sensor:
        raise reader.fault(
            f"the file was recorded on a sensor of {stored}, not {sensor}", f"leave the sensor out, or state {stored}"
        )
    if (known := stored or sensor) is None:
        raise reader.fault(
            "the file does not hold the geometry of its camera", "state it: sensor=Sensor(W, H), or --sensor WxH"
        )
    return known
