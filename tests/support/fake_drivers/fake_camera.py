"""A camera that a test controls, below the drivers: the test writes packets into a folder, the driver reads them.

`FakeCamera` is the test's end. The functions run in the camera's process and replace a driver's compiled part.
"""

from __future__ import annotations

import io
import json
import os
import time
from pathlib import Path

import numpy as np

DV_DTYPE = np.dtype(
    {
        "names": ["timestamp", "x", "y", "polarity"],
        "formats": ["<i8", "<i2", "<i2", "i1"],
        "offsets": [0, 8, 10, 12],
        "itemsize": 16,
    }
)
"""The dtype of `EventStore.numpy()`."""


class FakeCamera:
    """The test's end of a camera.

    Args:
        folder: a folder of this test; `FAKE_CAMERA` passes it to the other end.
        model: as the driver names it.
        serial: its serial number.
        sensor: (width, height).
        properties: other properties: `error` when it is listed, `open_error` when it is opened.
    """

    def __init__(self, folder: Path, model: str, sensor: tuple[int, int], serial: str = "FAKE0001", **properties):
        self.folder = folder
        self._properties = {"model": model, "serial": serial, "sensor": sensor} | properties
        self._emitted = 0
        self.plug()

    def plug(self, **changed) -> None:
        """Plug it in; with other properties, another camera in its place."""
        self._properties |= changed
        _write(self.folder / "plugged", json.dumps(self._properties).encode())

    def unplug(self) -> None:
        """Pull it out."""
        (self.folder / "plugged").unlink()

    def emit(self, data: np.ndarray | bytes, **status) -> None:
        """Deliver a packet: events as a structured array, or bytes; `status` as its driver reports it."""
        array = np.frombuffer(data, np.uint8) if isinstance(data, bytes) else data
        buffer = io.BytesIO()
        np.savez(buffer, data=array, status=np.array(json.dumps(status)))
        _write(self.folder / f"packet-{self._emitted:06}", buffer.getvalue())
        self._emitted += 1

    @property
    def untaken(self) -> int:
        """The number of packets that the driver has not read yet."""
        return len(list(self.folder.glob("packet-*")))

    def recorded(self, name: str):
        """Return the value that the driver received under this name; None: none."""
        path = self.folder / f"call-{name}"
        return json.loads(path.read_text()) if path.exists() else None


def _write(path: Path, data: bytes) -> None:
    path.with_suffix(".new").write_bytes(data)
    path.with_suffix(".new").rename(path)


def folder() -> Path:
    """Return the folder of this process's camera."""
    return Path(os.environ["FAKE_CAMERA"])


def properties() -> dict | None:
    """Return the properties of the plugged-in camera; None: there is none."""
    try:
        return json.loads((folder() / "plugged").read_text())
    except FileNotFoundError:
        return None


def record_call(name: str, value) -> None:
    """Record a value that the driver received, for the test."""
    _write(folder() / f"call-{name}", json.dumps(value).encode())


def waiting() -> list[Path]:
    """Return the packets not read yet."""
    return sorted(folder().glob("packet-*[0-9]"))


def take(timeout_s: float) -> tuple[np.ndarray, dict] | None:
    """Return the next packet; None: there is none yet."""
    packets = waiting()
    if not packets:
        time.sleep(timeout_s)
        return None
    with np.load(packets[0]) as packet:
        data, status = packet["data"], json.loads(str(packet["status"]))
    packets[0].unlink()
    return data, status
