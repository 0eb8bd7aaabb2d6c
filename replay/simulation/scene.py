"""Draws people in front of a background, as pictures of linear intensity.

Pictures are uint16, so the input of the sensor is the same on every machine. Edges are smoothed over one pixel, as a
lens does; a part that moves by a fraction of a pixel changes its edge by that fraction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from eventveil.events import Sensor
from eventveil.replay.simulation.body import BodyShapes
from eventveil.replay.simulation.portable_random import Floats, PortableRandom, sine

MARGIN = 8  # pixels of background around the picture, for the camera to move over
OBJECTS = 4  # on a wall

LIGHTINGS = ("fluorescent", "fluorescent_led", "lab", "led", "natural")
"""Lightings, named as in DVS128 Gesture."""


@dataclass(frozen=True, slots=True)
class Lighting:
    """Light of a room: `level` 0 to 1, share from the `side` (-1 to 1), and depth of the `flicker` at `hertz`."""

    level: float
    side: float
    flicker: float
    hertz: float

    @classmethod
    def named(cls, name: str) -> Self:
        """Return the light of one of `LIGHTINGS`."""
        level, side, flicker, hertz = {
            "fluorescent": (0.5, 0.1, 0.06, 120.0),
            "fluorescent_led": (0.8, -0.2, 0.03, 120.0),
            "lab": (0.65, 0.0, 0.02, 120.0),
            "led": (0.4, -0.4, 0.0, 120.0),
            "natural": (0.9, 0.5, 0.0, 120.0),
        }[name]
        return cls(level, side, flicker, hertz)

    def at(self, t_s: Floats) -> Floats:
        """Return the level at the times `t_s` (n,), seconds."""
        return self.level * (1 + self.flicker * sine(t_s * self.hertz))


@dataclass(frozen=True, slots=True)
class Tones:
    """The range of the lightness of walls, and of the objects on them."""

    wall: tuple[float, float]
    objects: tuple[float, float]


DIM = Tones(wall=(0.1, 0.4), objects=(0.05, 0.7))


def background(
    sensor: Sensor, random: PortableRandom, tones: Tones = DIM, *, margin: int = MARGIN, objects: int = OBJECTS
) -> Floats:
    """Return the lightness of a wall with objects, (height + 2 * margin, width + 2 * margin)."""
    height, width = sensor.height + 2 * margin, sensor.width + 2 * margin
    y, x = np.mgrid[0:height, 0:width] * 1.0
    wall: Floats = random.uniform(*tones.wall) * (
        1 + random.uniform(-0.3, 0.3) * x / width + random.uniform(-0.3, 0) * y / height
    )
    for _ in range(objects):
        left, top = random.uniform(-0.1, 1) * width, random.uniform(-0.1, 0.9) * height
        wide, high = random.uniform(0.05, 0.4) * width, random.uniform(0.05, 0.4) * height
        inside = np.clip(np.minimum(x - left, left + wide - x), 0, 1) * np.clip(
            np.minimum(y - top, top + high - y), 0, 1
        )
        wall += (random.uniform(*tones.objects) - wall) * inside
    return wall


def draw(
    wall: Floats, shift: Floats, figure: BodyShapes, light: Floats, side: float, sensor: Sensor
) -> npt.NDArray[np.uint16]:
    """Draw a person in front of a wall.

    Args:
        wall: from `background`.
        shift: movement of the camera to the right and down, pixels (n, 2), at most the margin of the wall - 1 each way.
        figure: shapes of n frames, as a still camera sees them.
        light: (n,) level of light, 0 to 1.
        side: -1 to 1, the side from which light comes.
        sensor: size of the pictures.

    Returns:
        uint16 (n, height, width).
    """
    from eventveil.replay.simulation.scene_kernels import draw_frames

    frames = np.empty((len(shift), sensor.height, sensor.width), np.uint16)
    margin = (wall.shape[0] - sensor.height) // 2
    shift = np.clip(shift, 1 - margin, margin - 1)
    picture = np.empty((sensor.height, sensor.width))
    draw_frames(wall, margin, shift, figure.shapes, figure.looks, figure.order, light, side, picture, frames)
    return frames
