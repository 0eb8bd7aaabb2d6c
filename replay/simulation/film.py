"""A scene, and the camera that films it: what is in front of the camera at each moment, turned into event packets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from eventveil.events import EventPacket, Sensor
from eventveil.replay.simulation.body import BodyShapes
from eventveil.replay.simulation.portable_random import Floats
from eventveil.replay.simulation.scene import draw
from eventveil.replay.simulation.sensor import EventSensor, Pixels

STEP_US = 2_000  # between pictures: the fastest hand moves about one pixel, as ESIM requires
PACKET_PICTURES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What a camera films. Times are seconds from the beginning, (n,).

    Attributes:
        wall: the background, from `eventveil.replay.simulation.scene.background`.
        shapes: what stands before it, as a still camera sees it.
        shift: movement of the camera to the right and down, pixels (n, 2).
        light: level of the light (n,), 0 to 1.
        side: -1 to 1, the side from which light comes.
    """

    wall: Floats
    shapes: Callable[[Floats], BodyShapes]
    shift: Callable[[Floats], Floats]
    light: Callable[[Floats], Floats]
    side: float


def film(
    scene: Scene, sensor: Sensor, pixels: Pixels, *, seed: int, noise: int, seconds: float
) -> Iterator[EventPacket]:
    """Yield a packet for each 40 ms of a scene, its times from 0.

    Args:
        scene: what is filmed.
        sensor: geometry of the camera.
        pixels: properties of its pixels.
        seed: seed of the differences between pixels; the same seed gives the same camera.
        noise: seed of the noise.
        seconds: length.
    """
    camera = EventSensor(sensor, pixels=pixels, seed=seed, noise=noise, step_us=STEP_US)
    pictures = round(seconds * 1e6) // STEP_US + 1
    for first in range(0, pictures, PACKET_PICTURES):
        t_s = np.arange(first, min(first + PACKET_PICTURES, pictures), dtype=np.float64) * (STEP_US / 1e6)
        frames = draw(scene.wall, scene.shift(t_s), scene.shapes(t_s), scene.light(t_s), scene.side, sensor)
        yield camera.watch(frames)
