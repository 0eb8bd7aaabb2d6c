"""Clips that can be played over and over without a seam: a person who makes a gesture or stands, and an empty room.

Everything that moves repeats after the length of the clip: gestures take a whole number of turns, at the nearest tempo
to the person's own, and do not drift. The sensor sees the whole motion once before the recording begins, so that at the
beginning its pixels are as at the end. Only the noise differs from one time to the next.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from eventveil.errors import EventError
from eventveil.events import EventPacket
from eventveil.replay.datasets.dvs_gesture import GESTURES, LABELS, NO_GESTURE, NOBODY
from eventveil.replay.simulation.acts import HANGING, HANGING_LEFT, RELAXED
from eventveil.replay.simulation.body import Body, BodyShapes, Viewpoint
from eventveil.replay.simulation.camera import Shot
from eventveil.replay.simulation.canvas import nothing
from eventveil.replay.simulation.film import STEP_US, Scene, film
from eventveil.replay.simulation.gestures import Performance
from eventveil.replay.simulation.looks import look_named
from eventveil.replay.simulation.person import Person
from eventveil.replay.simulation.portable_random import Floats, PortableRandom, sine
from eventveil.replay.simulation.scene import LIGHTINGS, Lighting
from eventveil.replay.simulation.wrist_paths import Paths, points

MAX_S = 60
MAX_TURNS = 16  # after which a path is expected to repeat
FIDGET_M = 0.01  # amplitude of the hands of a person who stands
BREATH_M = 0.005  # amplitude of the body that breathes


@dataclass(frozen=True, slots=True, kw_only=True)
class FilmedPerson:
    """The person in the clips, and the camera and the light that film all of them.

    Attributes:
        seed: seed of the person, the room and the camera.
        number: number of the person.
        take: number of the repetition, which decides what is drawn for each gesture.
        light: one of `eventveil.replay.simulation.scene.LIGHTINGS`.
        shot: the camera; it must not sway.
    """

    seed: int = 0
    number: int = 0
    take: int = 0
    light: str = "natural"
    shot: Shot = Shot(look="dvs-gesture")  # noqa: RUF009 - frozen


class LoopedPerformance(Performance):
    """A gesture that repeats exactly after `seconds`.

    Raises:
        EventError: the path of the gesture does not repeat within this time at about the person's tempo.
    """

    def __init__(self, gesture: int, person: Person, random: PortableRandom, seconds: float) -> None:
        super().__init__(gesture, person, random)
        usual = self._hertz * seconds
        self._drift = self._fade = (0.0, 0.0, 0.0)
        self._hertz = 1.0  # one turn a second: times are turns
        turns = next((turns for turns in range(1, MAX_TURNS + 1) if self._repeats(turns)), None)
        whole = 0 if turns is None else max(round(usual / turns), 1) * turns
        if not 0.7 * usual <= whole <= 1.4 * usual:
            raise EventError(
                f"{GESTURES[gesture]} does not repeat within {seconds:g} s at about {usual / seconds:.1f} turns a "
                "second; choose longer clips"
            )
        self._hertz = whole / seconds

    def _repeats(self, turns: int) -> bool:
        t = np.arange(97) / 32
        return all(np.allclose(now, later) for now, later in zip(self.at(t)[0], self.at(t + turns)[0], strict=True))


class Standing:
    """A person who stands with hanging arms, and fidgets a little; repeats exactly after `seconds`."""

    def __init__(self, seconds: float) -> None:
        self._hertz = 1 / seconds

    def at(self, t_s: Floats) -> tuple[Paths, Floats]:
        """Return the paths of the wrists (n, 4) each, and the beat (n,), at the times `t_s` (n,)."""
        turns = t_s * self._hertz
        right, left = (
            points(x + FIDGET_M * sine(turns + begin), y + FIDGET_M * sine(2 * turns + begin), z, fingers=RELAXED)
            for (x, y, z), begin in ((HANGING, 0.1), (HANGING_LEFT, 0.6))
        )
        return (right, left), sine(turns + 0.3)


def film_loop(
    who: FilmedPerson, label: str, *, seconds: float, size: float = 1.0, amplitude: float = 1.0
) -> EventPacket:
    """Film a clip.

    Args:
        who: the person and the camera.
        label: what the person does, one of `eventveil.replay.datasets.dvs_gesture.LABELS`.
        seconds: length, after which the clip can be played again.
        size: size of the person in the picture, relative to that of the camera's distance.
        amplitude: amplitude of the gesture, relative to the person's own.

    Returns:
        The events, their times from 0 to below `seconds`.

    Raises:
        EventError: no such label or light, the gesture or the light does not repeat in this time, or the time is not a
            whole number of pictures.
    """
    lighting = _lighting(who, label, seconds)
    look, sensor = look_named(who.shot.look), who.shot.sensor
    wall = look.wall(sensor, PortableRandom("room", who.seed, "book"))
    still = np.zeros(2)
    scene = Scene(
        wall=wall,
        shapes=nothing(sensor, PortableRandom()) if label == NOBODY else _Figure(who, label, seconds, size, amplitude),
        shift=lambda t_s: np.broadcast_to(still, (len(t_s), 2)),
        light=lighting.at,
        side=lighting.side,
    )
    noise = PortableRandom("loop", who.seed, who.number, who.take, label, size, amplitude).bits()
    packets = film(scene, sensor, look.pixels(who.shot.pixels), seed=who.seed, noise=noise, seconds=2 * seconds)
    t, x, y, p = (np.concatenate(column) for column in zip(*((e.t, e.x, e.y, e.p) for e in packets), strict=True))
    length_us = round(seconds * 1e6)
    second = slice(int(np.searchsorted(t, length_us)), None)
    return EventPacket(t[second] - length_us, x[second], y[second], p[second])


class _Figure:
    """The shapes of the person at any time."""

    def __init__(self, who: FilmedPerson, label: str, seconds: float, size: float, amplitude: float) -> None:
        person = look_named(who.shot.look).person(who.seed, who.number)
        self._sway_m, self._hertz = person.sway, 1 / seconds
        person = replace(person, sway=0.0, seated=False, amplitude=person.amplitude * amplitude)
        random = PortableRandom("loop", who.seed, who.number, who.take, label)
        self._act = (
            Standing(seconds)
            if label == NO_GESTURE
            else LoopedPerformance(GESTURES.index(label), person, random, seconds)
        )
        width, height = who.shot.sensor.width, who.shot.sensor.height
        scale = 0.78 * size / who.shot.distance * min(width, height)
        self._body = Body(person, Viewpoint(scale, 0.5 * width, 0.52 * height))

    def __call__(self, t_s: Floats) -> BodyShapes:
        paths, beat = self._act.at(t_s)
        turns = t_s * self._hertz
        place = np.stack((self._sway_m * sine(turns), BREATH_M * sine(turns + 0.2), 0 * turns), axis=-1)
        return self._body.figure(paths, beat, t_s, place)


def _lighting(who: FilmedPerson, label: str, seconds: float) -> Lighting:
    """Check what a clip is made of, and return its light.

    Raises:
        EventError: see `film_loop`.
    """
    if label not in LABELS:
        raise EventError(f"expected one of {', '.join(LABELS)}, got {label!r}")
    if who.light not in LIGHTINGS:
        raise EventError(f"expected a light of {', '.join(LIGHTINGS)}, got {who.light!r}")
    if not 0 < seconds <= MAX_S or round(seconds * 1e6) % STEP_US:
        raise EventError(f"a clip is up to {MAX_S} s long, in multiples of {STEP_US} µs, got {seconds:g} s")
    if who.shot.camera_motion:
        raise EventError("the camera of a clip does not sway")
    lighting = Lighting.named(who.light)
    if lighting.flicker and not math.isclose(turns := lighting.hertz * seconds, round(turns)):
        raise EventError(f"the light flickers at {lighting.hertz:g} Hz, not a whole number of times in a clip")
    return lighting
