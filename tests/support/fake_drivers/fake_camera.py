"""A camera that does what a test says, below the drivers: the test writes packets into a folder, the driver takes them.

`FakeCamera` is the test's end. What is below runs in the camera's process, in the place of a driver's compiled part.
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
"""Of `EventStore.numpy()`."""


class FakeCamera:
    """The test's end of a camera.

    Args:
        folder: a folder of the test's own; `FAKE_CAMERA` names it to the other end.
        model: as the driver names it.
        serial: its serial number.
        sensor: (width, height).
        properties: what else is to be said of it: `error` when it is listed, `open_error` when it is opened.
    """

    def __init__(self, folder: Path, model: str, sensor: tuple[int, int], serial: str = "FAKE0001", **properties):
        self.folder = folder
        self._told = {"model": model, "serial": serial, "sensor": sensor} | properties
        self._emitted = 0
        self.plug()

    def plug(self, **changed) -> None:
        """Plug it in; with other properties, another camera in its place."""
        self._told |= changed
        _write(self.folder / "plugged", json.dumps(self._told).encode())

    def unplug(self) -> None:
        """Pull it out."""
        (self.folder / "plugged").unlink()

    def emit(self, data: np.ndarray | bytes, **status) -> None:
        """Let it deliver a packet: events as columns of a structured array, or bytes; `status` as its driver tells."""
        array = np.frombuffer(data, np.uint8) if isinstance(data, bytes) else data
        buffer = io.BytesIO()
        np.savez(buffer, data=array, status=np.array(json.dumps(status)))
        _write(self.folder / f"packet-{self._emitted:06}", buffer.getvalue())
        self._emitted += 1

    @property
    def untaken(self) -> int:
        """How many packets the driver has not taken yet."""
        return len(list(self.folder.glob("packet-*")))

    def told(self, name: str):
        """What the driver was told under this name; None: nothing."""
        path = self.folder / f"told-{name}"
        return json.loads(path.read_text()) if path.exists() else None


def _write(path: Path, data: bytes) -> None:
    path.with_suffix(".new").write_bytes(data)
    path.with_suffix(".new").rename(path)


def folder() -> Path:
    """Where the camera of this process is."""
    return Path(os.environ["FAKE_CAMERA"])


def properties() -> dict | None:
    """What is plugged in; None: nothing."""
    try:
        return json.loads((folder() / "plugged").read_text())
    except FileNotFoundError:
        return None


def tell(name: str, value) -> None:
    """Let the test know what the driver was told."""
    _write(folder() / f"told-{name}", json.dumps(value).encode())


def waiting() -> list[Path]:
    """The packets that have not been taken."""
    return sorted(folder().glob("packet-*[0-9]"))


def take(timeout_s: float) -> tuple[np.ndarray, dict] | None:
    """The next packet; None: there is none yet."""
    packets = waiting()
    if not packets:
        time.sleep(timeout_s)
        return None
    with np.load(packets[0]) as packet:
        data, status = packet["data"], json.loads(str(packet["status"]))
    packets[0].unlink()
    return data, status
