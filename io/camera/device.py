"""What a camera's driver is given and what it delivers: tuning, camera information, batches of events.

A thin adapter (`dv`, `network`, `neuromorphic`, `metavision`) wraps each driver and runs in its own process
(`process`), because drivers are third-party compiled code: one may crash, or block forever while it holds the
interpreter lock. The pipeline's side (`link`, `clock`, `live`) imports no driver.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from eventveil.events import EventPacket, Sensor
from eventveil.io.formats.aedat4 import RECORD


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """The settings of a camera when it is opened. A setting that its driver does not offer is refused.

    Attributes:
        biases: value by name, in the driver's names and units.
        roi: (x, y, width, height) in pixels; the camera switches off the pixels outside. Coordinates stay the sensor's.
        max_event_rate: events per second above which the camera itself drops events.
    """

    biases: Mapping[str, int] = field(default_factory=dict)
    roi: tuple[int, int, int, int] | None = None
    max_event_rate: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraInfo:
    """What is known about a camera.

    Attributes:
        driver: the driver that found or opened it; "" if no driver is installed for it.
        model: as the driver names it.
        serial: its serial number; None if the driver reports it only for an open camera.
        sensor: its geometry; None likewise.
        firmware: version, as the driver reports it.
        connection: USB speed, network, ...
        uri: the URI that opens it.
        problem: why it cannot be opened; None: no problem is known.
        remedy: what to do about it, a command if there is one.
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

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return asdict(self) | {"sensor": None if self.sensor is None else str(self.sensor)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read the result of `to_dict`."""
        sensor = values["sensor"]
        return cls(**{**values, "sensor": None if sensor is None else Sensor.parse(sensor)})


@dataclass(slots=True, eq=False)
class CameraBatch:
    """The events that a driver delivered at once.

    Attributes:
        events: (n,) records of t, x, y, p, 16 bytes each, contiguous; t as the camera reports it, not checked.
        received_ns: when the computer received them, on its monotonic clock.
        overflow: True if the camera or its driver lost events before or among these.
        discarded: how many packets the adapter had its driver discard before these, because they were too old.
    """

    events: npt.NDArray[np.void]
    received_ns: int
    overflow: bool = False
    discarded: int = 0


class CameraDevice(Protocol):
    """An open camera, as its adapter presents it. Used in one thread, in the camera's own process.

    Attributes:
        info: what is known about it; `sensor` and `serial` are set.
    """

    info: CameraInfo

    def read(self) -> CameraBatch | None:
        """Return the events that have come; None: none yet. May wait for a few milliseconds, never longer.

        Raises:
            CameraError: the camera is gone. Any other exception of a driver is treated the same way.
        """

    def close(self) -> None:
        """Close the camera."""


def concatenate(parts: Sequence[EventPacket]) -> EventPacket:
    """Concatenate one or more packets."""
    return EventPacket(
        np.concatenate([part.t for part in parts]),
        np.concatenate([part.x for part in parts]),
        np.concatenate([part.y for part in parts]),
        np.concatenate([part.p for part in parts]),
    )


def to_records(t: Any, x: Any, y: Any, p: Any) -> npt.NDArray[np.void]:
    """Copy columns into records of 16 bytes."""
    records = np.empty(len(t), RECORD)
    records["t"], records["x"], records["y"], records["p"] = t, x, y, p
    return records
