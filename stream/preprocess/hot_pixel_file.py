"""Stores the hot pixels of each camera between runs: one small file per serial number, in the user's state folder.

The file lists the defective pixels, not what the camera saw. But it names a camera, so only its owner may read it.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

from eventveil.errors import ConfigError
from eventveil.events import Sensor
from eventveil.host.files import private_folder, write_atomic

Mask = npt.NDArray[np.bool_]
FOLDER = "hot_pixels"
_DAY_S = 86_400


class _StoredPixels(BaseModel):
    """The content of the file: the camera, and its hot pixels as a list of [x, y]."""

    model_config = ConfigDict(extra="forbid")

    serial: str
    sensor: str
    pixels: list[tuple[int, int]]


def state_folder() -> Path:
    """Return the folder for state between runs: `$XDG_STATE_HOME/eventveil`, by default in ~/.local/state."""
    state_home = Path(os.environ.get("XDG_STATE_HOME", ""))  # the specification says to ignore a relative path
    return (state_home if state_home.is_absolute() else Path.home() / ".local" / "state") / "eventveil"


def hot_pixel_files(serial: str = "", state: Path | None = None) -> Iterator[Path]:
    """Yield the files with the hot pixels of one camera, or of all of them.

    Args:
        serial: serial number of the camera; "" stands for all cameras.
        state: folder of the state between runs; by default `state_folder`.
    """
    name = re.escape(_file_name(serial)) if serial else ".*"
    for path in sorted(((state or state_folder()) / FOLDER).glob("*.json")):
        if re.fullmatch(rf"{name}-\d+x\d+\.json", path.name):
            yield path


class HotPixelFile:
    """The stored hot pixels of one camera.

    Args:
        serial: serial number of the camera.
        sensor: geometry of the camera.
        folder: folder of the files of all cameras; by default in `state_folder`.
        days: how long the file is kept; 0: it is never written. None: until it is deleted.

    Attributes:
        path: the file.
    """

    def __init__(self, serial: str, sensor: Sensor, folder: Path | None = None, *, days: float | None = None) -> None:
        self._serial, self._sensor, self._days = serial, sensor, days
        self.path = (folder or state_folder() / FOLDER) / f"{_file_name(serial)}-{sensor}.json"

    def load(self) -> Mask | None:
        """Return the hot pixels, bool (height, width); None if the file is missing or damaged.

        Raises:
            ConfigError: the file is older than it may be kept, and cannot be removed.
        """
        try:
            if self._days is not None and time.time() - self.path.stat().st_mtime > self._days * _DAY_S:
                self.forget()
                return None
            stored = _StoredPixels.model_validate_json(self.path.read_bytes())
        except (OSError, ValidationError):
            return None
        if (stored.serial, stored.sensor) != (self._serial, str(self._sensor)):
            return None
        hot = np.zeros((self._sensor.height, self._sensor.width), np.bool_)
        for x, y in stored.pixels:
            if not (0 <= x < self._sensor.width and 0 <= y < self._sensor.height):
                return None
            hot[y, x] = True
        return hot

    def save(self, hot: Mask) -> None:
        """Store hot pixels atomically, in a file that only its owner may read.

        Raises:
            ConfigError: the file cannot be written.
        """
        if self._days == 0:
            return
        rows, columns = np.nonzero(hot)
        pixels = list(zip(columns.tolist(), rows.tolist(), strict=True))
        kept = {"serial": self._serial, "sensor": str(self._sensor), "pixels": pixels}
        try:
            private_folder(self.path.parent)
            write_atomic(self.path, json.dumps(kept).encode())
        except OSError as error:
            raise ConfigError(
                f"{self.path}: hot pixels cannot be kept ({error.strerror or error}); check the folder and free space"
            ) from error

    def forget(self) -> bool:
        """Delete the stored hot pixels; return whether there were any.

        Raises:
            ConfigError: the file cannot be removed.
        """
        try:
            self.path.unlink()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise ConfigError(f"{self.path}: cannot be removed ({error.strerror or error})") from error
        return True


def _file_name(serial: str) -> str:
    """Return a serial number as part of a file name: it comes from the device, so it must not choose a path."""
    return re.sub(r"[^A-Za-z0-9-]", "_", serial)[:64]
