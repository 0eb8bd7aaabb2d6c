"""Draws people in front of a background, as pictures of linear intensity.

Pictures are uint16, so the input of the sensor is the same on every machine. Edges are smoothed over one pixel, as a
lens does; a part that moves by a fraction of a pixel changes its edge by that fraction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from numba import njit

from eventveil.events import Sensor
from eventveil.replay.simulation.body import ACROSS, ALONG, CHECKED, BodyShapes
from eventveil.replay.simulation.portable_random import Floats, PortableRandom, sine

WHITE = 60_000.0  # intensity of a perfectly white surface in full light
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
    frames = np.empty((len(shift), sensor.height, sensor.width), np.uint16)
    margin = (wall.shape[0] - sensor.height) // 2
    shift = np.clip(shift, 1 - margin, margin - 1)
    picture = np.empty((sensor.height, sensor.width))
    _draw(wall, margin, shift, figure.shapes, figure.looks, figure.order, light, side, picture, frames)
    return frames


@njit(cache=True, nogil=True)
def _draw(wall, margin, shift, shapes, looks, order, light, side, picture, frames):  # type: ignore[no-untyped-def]
    for n in range(frames.shape[0]):
        _draw_wall(wall, margin, shift[n, 0], shift[n, 1], picture)
        for k in range(order.shape[1]):
            part = order[n, k]
            _draw_bar(shapes[n, part], looks[part], shift[n, 0], shift[n, 1], side, picture)
        gain = WHITE * light[n]
        for y in range(frames.shape[1]):
            for x in range(frames.shape[2]):
                frames[n, y, x] = np.uint16(min(max(picture[y, x] * gain, 0.0), 65535.0))


@njit(cache=True, nogil=True)
def _draw_wall(wall, margin, dx, dy, picture):  # type: ignore[no-untyped-def]
    left, top = int(np.floor(margin + dx)), int(np.floor(margin + dy))
    u, v = margin + dx - left, margin + dy - top
    for y in range(picture.shape[0]):
        for x in range(picture.shape[1]):
            upper = (1 - u) * wall[y + top, x + left] + u * wall[y + top, x + left + 1]
            lower = (1 - u) * wall[y + top + 1, x + left] + u * wall[y + top + 1, x + left + 1]
            picture[y, x] = (1 - v) * upper + v * lower


@njit(cache=True, nogil=True)
def _draw_bar(shape, look, dx, dy, side, picture):  # type: ignore[no-untyped-def]
    height, width = picture.shape
    ax, ay, bx, by = shape[0] - dx, shape[1] - dy, shape[2] - dx, shape[3] - dy
    ar, br = shape[4], shape[5]
    vx, vy = bx - ax, by - ay
    square = vx * vx + vy * vy
    length = np.sqrt(square)
    per_square = 1 / square if square > 1e-6 else 0.0
    per_length = 1 / length if length > 1e-3 else 0.0
    first_x = max(0, int(np.floor(min(ax - ar, bx - br))))
    last_x = min(width - 1, int(np.floor(max(ax + ar, bx + br))) + 1)
    first_y = max(0, int(np.floor(min(ay - ar, by - br))))
    last_y = min(height - 1, int(np.floor(max(ay + ar, by + br))) + 1)
    for y in range(first_y, last_y + 1):
        for x in range(first_x, last_x + 1):
            px, py = x - ax, y - ay
            h = min(max((px * vx + py * vy) * per_square, 0.0), 1.0)
            ox, oy = px - h * vx, py - h * vy
            radius = ar + (br - ar) * h
            distance = ox * ox + oy * oy
            if distance >= (radius + 0.5) * (radius + 0.5):
                continue
            cover = min(max(radius + 0.5 - np.sqrt(distance), 0.0), 1.0)
            across = (px * vy - py * vx) * per_length
            light = look[0] * _texture(look, h * length, across) * (1 - look[4] * distance / (radius * radius + 0.25))
            light *= 1 + look[4] * side * ox / (radius + 0.5)
            picture[y, x] += (light - picture[y, x]) * cover


@njit(cache=True, nogil=True)
def _texture(look, along, across):  # type: ignore[no-untyped-def]
    kind = int(look[1])
    if kind == ALONG:
        return 1 - look[3] * _band(along / look[2])
    if kind == ACROSS:
        return 1 - look[3] * _band(across / look[2])
    if kind == CHECKED:
        return 1 - look[3] * 0.5 * (_band(along / look[2]) + _band(across / look[2]))
    return 1.0


@njit(cache=True, nogil=True)
def _band(turns):  # type: ignore[no-untyped-def]
    """A soft band once a turn, 0 to 1."""
    part = turns - np.floor(turns)
    return min(max(1.5 - 6 * abs(part - 0.5), 0.0), 1.0)
