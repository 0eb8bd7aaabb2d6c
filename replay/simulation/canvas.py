"""Draws things of bars, in units of the picture's height, and puts several of them into one picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from eventveil.events import Sensor
from eventveil.replay.simulation.body import ACROSS, ALONG, CHECKED, PLAIN, BodyShapes
from eventveil.replay.simulation.portable_random import Floats, PortableRandom

Shapes = Callable[[Floats], BodyShapes]
"""Gives the shapes at the times (n,), seconds."""
Look = tuple[float, float, float, float, float]


class Canvas:
    """Collects the bars of a thing; positions are in units of the picture's height, from its upper left corner."""

    def __init__(self, sensor: Sensor, frames: int) -> None:
        self._unit, self._frames = sensor.height, frames
        self._bars: list[Floats] = []
        self._looks: list[Look] = []
        self._depths: list[Floats] = []

    def bar(
        self,
        a: tuple[Floats | float, Floats | float],
        b: tuple[Floats | float, Floats | float],
        half: Floats | float,
        look: Look,
        *,
        depth: Floats | float = 0.0,
    ) -> None:
        """Add a bar from `a` to `b` of half width `half`; bars of larger `depth` are drawn later, nearer."""
        columns = np.broadcast_arrays(*a, *b, half, half, np.zeros(self._frames))[:6]
        self._bars.append(np.stack(columns, axis=-1) * self._unit)
        self._looks.append((look[0], look[1], look[2] * self._unit, *look[3:]))
        self._depths.append(np.broadcast_to(np.asarray(depth, np.float64), self._frames))

    def shapes(self) -> BodyShapes:
        """Return everything that was added."""
        order = np.argsort(np.stack(self._depths, axis=1), axis=1, kind="stable")
        return BodyShapes(np.stack(self._bars, axis=1), np.array(self._looks), order)


def nothing(_sensor: Sensor, _random: PortableRandom) -> Shapes:
    """Return no shape at all."""

    def at(t_s: Floats) -> BodyShapes:
        return BodyShapes(np.zeros((len(t_s), 0, 6)), np.zeros((0, 5)), np.zeros((len(t_s), 0), np.int64))

    return at


def look(random: PortableRandom, *, plain: bool = False) -> Look:
    """Draw the surface of a thing: lightness, texture, its wavelength, its contrast, and round shading."""
    kind = PLAIN if plain else random.pick((PLAIN, PLAIN, ALONG, ACROSS, CHECKED))
    return random.uniform(0.04, 0.9), kind, random.uniform(0.02, 0.1), random.uniform(0.2, 0.8), random.uniform(0, 0.5)


def side_by_side(things: Sequence[Shapes]) -> Shapes:
    """Return several things as one; later ones are nearer."""

    def at(t_s: Floats) -> BodyShapes:
        parts = [thing(t_s) for thing in things]
        counts = np.cumsum([0, *(len(part.looks) for part in parts)])
        return BodyShapes(
            np.concatenate([part.shapes for part in parts], axis=1),
            np.concatenate([part.looks for part in parts]),
            np.concatenate([part.order + first for part, first in zip(parts, counts, strict=False)], axis=1),
        )

    return at
