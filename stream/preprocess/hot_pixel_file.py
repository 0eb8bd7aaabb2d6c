"""What is remembered of a camera's hot pixels: one small file for each serial number, in the user's state folder.

It says where a sensor is broken, and nothing of what it saw; but it names a camera, so only its owner may read it.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

from eventveil.errors import ConfigError
from eventveil.events import Sensor
from eventveil.files import write_atomic

Mask = npt.NDArray[np.bool_]


class _Kept(BaseModel):
    """The file: whose pixels these are, and where: a list of [x, y]."""

    model_config = ConfigDict(extra="forbid")

    serial: str
    sensor: str
    pixels: list[tuple[int, int]]


def state_folder() -> Path:
    """The folder of what is remembered between runs: `$XDG_STATE_HOME/eventveil`, as a rule in ~/.local/state."""
    # The specification: a path that is not absolute is to be ignored.
    named = Path(os.environ.get("XDG_STATE_HOME", ""))
    return (named if named.is_absolute() else Path.home() / ".local" / "state") / "eventveil"


class HotPixelFile:
    """The hot pixels of one camera, between runs.

    Args:
        serial: its serial number.
        sensor: its geometry.
        folder: of all cameras.
    """

    def __init__(self, serial: str, sensor: Sensor, folder: Path | None = None) -> None:
        self._serial, self._sensor = serial, sensor
        # What a device says of itself is not to be trusted with a path.
        name = re.sub(r"[^A-Za-z0-9-]", "_", serial)[:64]
        self.path = (folder or state_folder() / "hot_pixels") / f"{name}-{sensor}.json"

    def load(self) -> Mask | None:
        """The pixels that were hot: bool (height, width); None where there is no such file, or it is damaged."""
        try:
            kept = _Kept.model_validate_json(self.path.read_bytes())
        except (OSError, ValidationError):
            return None
        if (kept.serial, kept.sensor) != (self._serial, str(self._sensor)):
            return None
        hot = np.zeros((self._sensor.height, self._sensor.width), np.bool_)
        for x, y in kept.pixels:
            if not (0 <= x < self._sensor.width and 0 <= y < self._sensor.height):
                return None
            hot[y, x] = True
        return hot

    def save(self, hot: Mask) -> None:
        """Remember these, in one step and for the owner alone.

        Raises:
            ConfigError: the file cannot be written.
        """
        rows, columns = np.nonzero(hot)
        pixels = list(zip(columns.tolist(), rows.tolist(), strict=True))
        kept = {"serial": self._serial, "sensor": str(self._sensor), "pixels": pixels}
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_atomic(self.path, json.dumps(kept).encode(), private=True)
        except OSError as error:
            raise ConfigError(
                f"{self.path}: hot pixels cannot be kept ({error.strerror or error}); check folder and space"
            ) from error

    def forget(self) -> bool:
        """Forget them; tell whether there was something to forget.

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
