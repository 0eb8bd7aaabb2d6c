"""What a camera's driver is given and what it delivers: tuning, camera information, batches of events.

A thin adapter (`dv`, `network`, `neuromorphic`, `metavision`) wraps each driver and runs in a process of its own
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

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return asdict(self) | {"sensor": None if self.sensor is None else str(self.sensor)}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
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


def concatenate(parts: Sequence[EventPacket]) -> EventPacket:
    """Packets, at least one, as one."""
    return EventPacket(
        np.concatenate([part.t for part in parts]),
        np.concatenate([part.x for part in parts]),
        np.concatenate([part.y for part in parts]),
        np.concatenate([part.p for part in parts]),
    )


def to_records(t: Any, x: Any, y: Any, p: Any) -> npt.NDArray[np.void]:
    """Put columns into records of 16 bytes."""
    made = np.empty(len(t), RECORD)
    made["t"], made["x"], made["y"], made["p"] = t, x, y, p
    return made
