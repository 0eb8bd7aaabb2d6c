"""The words about live cameras: how one is asked for, what is known of it, what its driver hands over.

A driver is used through a thin adapter (`dv`, `network`, `neuromorphic`, `metavision`), in
a process of its own (`process`), because drivers are other people's compiled code: it may crash, or wait for
ever without letting go of the interpreter. The line's side (`link`, `clock`, `live`) knows none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, Self
from urllib.parse import parse_qsl

import numpy as np
import numpy.typing as npt

from eventveil.addresses import parse_port, split_host_port
from eventveil.errors import ConfigError
from eventveil.events import EventPacket, Sensor
from eventveil.io.formats.aedat4 import RECORD

DV, DV_TCP, DV_UNIX, PROPHESEE = "dv", "dv+tcp", "dv+unix", "prophesee"
DV_PROCESSING, NEUROMORPHIC, METAVISION = "dv-processing", "neuromorphic-drivers", "metavision"
DRIVERS = {DV: (DV_PROCESSING, NEUROMORPHIC), PROPHESEE: (METAVISION, NEUROMORPHIC)}
"""Drivers of each kind of camera, the one that is taken where both are installed first."""
EXAMPLES = {
    DV: "dv:// or dv://DXB00010",
    DV_TCP: "dv+tcp://192.168.0.7:7777",
    DV_UNIX: "dv+unix:///run/dv/events.sock",
    PROPHESEE: "prophesee:// or prophesee://00050423",
}


@dataclass(frozen=True, slots=True)
class CameraUri:
    """A URI that names a live camera, or a camera's stream on the network.

    Attributes:
        kind: "dv" (iniVation), "prophesee", "dv+tcp" or "dv+unix" (a stream that dv-processing's NetworkWriter sends).
        name: the serial number, or "" for the first camera that is found; HOST:PORT; or the path of a socket.
        options: `driver` of a camera; `certificate` and `key` of a TCP stream, paths to PEM files.
    """

    kind: str
    name: str
    options: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, uri: str) -> Self:
        """Read a URI, without looking for what it names.

        Raises:
            ConfigError: the kind or an option is unknown, or host, port or path are missing.
        """
        kind, _, rest = uri.partition("://")
        if kind not in EXAMPLES:
            raise ConfigError(f"{uri}: expected a camera as {', '.join(EXAMPLES.values())}")
        name, _, query = rest.partition("?")
        options = dict(parse_qsl(query, keep_blank_values=True))
        known = {DV_TCP: ("certificate", "key"), DV_UNIX: ()}.get(kind, ("driver",))
        if unknown := [option for option in options if option not in known]:
            takes = f"takes {', '.join(known)}" if known else "takes none"
            raise ConfigError(f"{uri}: unknown option {', '.join(unknown)}; {kind}:// {takes}")
        parsed = cls(kind, name, options)
        parsed._check(uri)
        return parsed

    def _check(self, uri: str) -> None:
        if self.kind == DV_TCP:
            host, port = split_host_port(self.name)
            if not host or not parse_port(port):
                raise ConfigError(f"{uri}: expected a host and a port, as in {EXAMPLES[DV_TCP]}")
            if len(self.options) == 1:
                raise ConfigError(f"{uri}: TLS takes both, certificate=FILE.pem and key=FILE.pem, of this client")
        elif self.kind == DV_UNIX:
            if not self.name.startswith("/"):
                raise ConfigError(f"{uri}: expected the path of a socket, with three slashes: {EXAMPLES[DV_UNIX]}")
        elif self.driver not in (None, *DRIVERS[self.kind]):
            raise ConfigError(f"{uri}: unknown driver {self.driver!r}; expected {' or '.join(DRIVERS[self.kind])}")

    @property
    def driver(self) -> str | None:
        """The driver that was asked for; None: the first one that is installed."""
        return self.options.get("driver")

    def __str__(self) -> str:
        query = "&".join(f"{key}={value}" for key, value in self.options.items())
        return f"{self.kind}://{self.name}{'?' if query else ''}{query}"


def is_camera(uri: str) -> bool:
    """Tell whether a URI names a live camera or a camera's stream."""
    return uri.partition("://")[0] in EXAMPLES


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """What a camera is told when it is opened; what its driver does not offer is refused.

    Attributes:
        biases: value by name, in the driver's own names and units.
        roi: (x, y, width, height), pixels outside are switched off in the camera; coordinates stay the sensor's.
        max_event_rate: events per second above which the camera itself drops events.
    """

    biases: Mapping[str, int] = field(default_factory=dict)
    roi: tuple[int, int, int, int] | None = None
    max_event_rate: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraInfo:
    """What is known of a camera.

    Attributes:
        driver: what it was found or opened with; "" where no driver is installed for it.
        model: as the driver names it.
        serial: its serial number; None where the driver tells it only of a camera that is open.
        sensor: its geometry; None likewise.
        firmware: version, in the driver's words.
        connection: USB speed, network, ...
        uri: what opens it.
        problem: why it cannot be opened; None: nothing is known to be in the way.
        remedy: what to do about that, a command where there is one.
    """

    driver: str
    model: str
    serial: str | None = None
    sensor: Sensor | None = None
    firmware: str | None = None
    connection: str | None = None
    uri: str = ""
    problem: str | None = None
    remedy: str | None = None

    def plain(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return asdict(self) | {"sensor": None if self.sensor is None else str(self.sensor)}

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Self:
        """Read what `plain` has written."""
        sensor = plain["sensor"]
        return cls(**{**plain, "sensor": None if sensor is None else Sensor.parse(sensor)})


@dataclass(slots=True, eq=False)
class CameraBatch:
    """What a driver handed over at once.

    Attributes:
        events: (n,) records of t, x, y, p, 16 bytes each, contiguous; t as the camera tells it, not checked.
        received_ns: when the computer received them, on its monotonic clock.
        overflow: the camera or its driver lost events before or among these.
        discarded: packets that the adapter made its driver give up before these, because they were too old.
    """

    events: npt.NDArray[np.void]
    received_ns: int
    overflow: bool = False
    discarded: int = 0


class CameraDevice(Protocol):
    """An open camera, as its adapter shows it. Used in one thread, in the camera's own process.

    Attributes:
        info: what is known of it; `sensor` and `serial` are told now.
    """

    info: CameraInfo

    def read(self) -> CameraBatch | None:
        """Return what has come; None: nothing yet. May wait for some milliseconds, never longer.

        Raises:
            CameraError: the camera is gone. Whatever else a driver raises is taken for the same.
        """

    def close(self) -> None:
        """Give the camera back."""


def joined(parts: Sequence[EventPacket]) -> EventPacket:
    """Packets, at least one, as one."""
    return EventPacket(
        np.concatenate([part.t for part in parts]),
        np.concatenate([part.x for part in parts]),
        np.concatenate([part.y for part in parts]),
        np.concatenate([part.p for part in parts]),
    )


def records(t: Any, x: Any, y: Any, p: Any) -> npt.NDArray[np.void]:
    """Put columns into records of 16 bytes."""
    made = np.empty(len(t), RECORD)
    made["t"], made["x"], made["y"], made["p"] = t, x, y, p
    return made
