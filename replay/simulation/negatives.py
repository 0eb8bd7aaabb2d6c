"""Scenes in which nobody makes a gesture: empty rooms, moving cameras, things that move, people who do other things.

A network that has only seen gestures takes everything for one. These scenes show what else moves in front of a camera.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from eventveil.errors import EventError
from eventveil.events import EventPacket, Sensor
from eventveil.replay.datasets.dvs_gesture import NO_GESTURE, NOBODY
from eventveil.replay.simulation import objects
from eventveil.replay.simulation.acts import EVERYDAY
from eventveil.replay.simulation.body import Body, BodyShapes
from eventveil.replay.simulation.camera import Shot, half_width_m, place_person, sway
from eventveil.replay.simulation.canvas import Shapes, nothing, side_by_side
from eventveil.replay.simulation.film import Scene, film
from eventveil.replay.simulation.looks import look_named
from eventveil.replay.simulation.person import Person
from eventveil.replay.simulation.portable_random import Floats, PortableRandom, sine
from eventveil.replay.simulation.scene import LIGHTINGS, MARGIN, Lighting
from eventveil.replay.simulation.sensor import Pixels
from eventveil.replay.simulation.sequence import Visit, passing, sitting_and_standing, staying

WIDE_MARGIN = 1.0  # of the room around the picture, for a camera that pans, as a share of its longer side


@dataclass(frozen=True, slots=True)
class Filmed:
    """A scene that is ready to be filmed, with the properties of the sensor's pixels."""

    scene: Scene
    pixels: Pixels


Recipe = Callable[[Shot, PortableRandom, float], Filmed]
"""Draws a scene of this many seconds."""


def _room(
    shot: Shot,
    random: PortableRandom,
    *,
    shapes: Shapes | None = None,
    shift: Callable[[Floats], Floats] | None = None,
    light: Callable[[Floats], Floats] | None = None,
    margin: int = MARGIN,
    pixels: Pixels | None = None,
) -> Filmed:
    """Return a room; what is not given is as in the scenes of gestures."""
    lighting, look = Lighting.named(random.pick(LIGHTINGS)), look_named(shot.look)
    # A wider room holds more things, as many to a picture as usual.
    crowd = 4 + round(4 * ((1 + 2 * margin / max(shot.sensor.width, shot.sensor.height)) ** 2 - 1))
    scene = Scene(
        wall=look.wall(shot.sensor, random, margin=margin, objects=crowd),
        shapes=shapes or nothing(shot.sensor, random),
        shift=shift or (lambda t_s: sway(shot, t_s)),
        light=light or lighting.at,
        side=lighting.side,
    )
    return Filmed(scene, pixels or look.pixels(shot.pixels))


def _noise(shot: Shot, random: PortableRandom, _seconds: float) -> Filmed:
    """An empty room, from a quiet sensor to a very noisy one in the dark."""
    noisy = replace(
        look_named(shot.look).pixels(shot.pixels),
        shot_hz=2 * random.uniform(0, 1) ** 2 + 0.05,
        leak_hz=random.uniform(0, 0.3),
    )
    level = random.uniform(0.02, 0.9)
    return _room(shot, random, light=lambda t_s: np.full(len(t_s), level), pixels=noisy)


def _hot_pixels(shot: Shot, random: PortableRandom, _seconds: float) -> Filmed:
    """An empty room, seen by a sensor with 1 to 60 pixels that fire without cause."""
    spots = [
        (random.uniform(0, shot.sensor.width), random.uniform(0, shot.sensor.height), random.uniform(3, 200))
        for _ in range(1 + random.bits() % 60)
    ]
    looks = np.array([(0.3, 0, 1.0, 0.0, 0.0), (0.5, 0, 1.0, 0.0, 0.0)])

    def shapes(t_s: Floats) -> BodyShapes:
        # A hot pixel is a spot of a pixel that is now darker, now brighter, than its surroundings.
        places = np.floor(np.array(spots)[:, :2])
        bars = np.concatenate((places, places, np.full((len(spots), 2), 0.4)), axis=1)
        bright = sine(t_s[:, None] * np.array(spots)[:, 2]) > 0
        shown = np.stack((~bright, bright), axis=-1).reshape(len(t_s), -1)
        all_bars = np.tile(np.repeat(bars, 2, axis=0), (len(t_s), 1, 1))
        all_bars[..., [0, 2]] = np.where(shown[..., None], all_bars[..., [0, 2]], -100.0)  # the other is out of sight
        order = np.tile(np.arange(2 * len(spots)), (len(t_s), 1))
        return BodyShapes(all_bars, np.tile(looks, (len(spots), 1)), order)

    return _room(shot, random, shapes=shapes)


def _flicker(shot: Shot, random: PortableRandom, _seconds: float) -> Filmed:
    """A room under a lamp or a screen that flickers: regularly, or in steps as a television does."""
    level, depth, hertz = random.uniform(0.2, 0.8), random.uniform(0.03, 0.3), random.uniform(5, 120)
    steady = random.pick((False, True))
    slow = [(random.uniform(0.7, 4), random.uniform(0, 1)) for _ in range(3)]

    def light(t_s: Floats) -> Floats:
        if steady:
            return level * (1 + depth * sine(t_s * hertz))
        steps: Floats = np.sum([np.sign(sine(t_s * rate + begin)) for rate, begin in slow], axis=0) / 3
        return level * (1 + depth * steps)

    return _room(shot, random, light=light)


def _switched_lights(shot: Shot, random: PortableRandom, seconds: float) -> Filmed:
    """A room in which lights go on and off, at once or within half a second."""
    levels = [random.uniform(0.03, 0.9) for _ in range(2 + round(seconds / random.uniform(0.7, 3)))]
    fade_s = random.pick((0.004, 0.05, 0.5))
    every_s = seconds / len(levels)

    def light(t_s: Floats) -> Floats:
        number = np.minimum(np.floor(t_s / every_s).astype(np.int64), len(levels) - 1)
        now, before = np.array(levels)[number], np.array(levels)[np.maximum(number - 1, 0)]
        share: Floats = np.clip((t_s - number * every_s) / fade_s, 0, 1)
        faded: Floats = before + (now - before) * share
        return faded

    return _room(shot, random, light=light)


def _moving_camera(shot: Shot, random: PortableRandom, move: Callable[[Floats], Floats]) -> Filmed:
    return _room(shot, random, shift=move, margin=round(WIDE_MARGIN * max(shot.sensor.width, shot.sensor.height)))


def _shaking_camera(shot: Shot, random: PortableRandom, _seconds: float) -> Filmed:
    """A camera on something that vibrates or is knocked."""
    waves = [(random.uniform(2, 12), random.uniform(0, 1), random.uniform(0.2, 3)) for _ in range(4)]
    calm_hz = random.uniform(0.1, 0.5)

    def move(t_s: Floats) -> Floats:
        strength = np.clip(0.5 + sine(t_s * calm_hz), 0, 1)
        x, y = (sum(size * sine(t_s * hertz + begin) for hertz, begin, size in waves[axis::2]) for axis in range(2))
        shaken: Floats = strength[:, None] * np.stack((x, y), axis=-1) * shot.sensor.height / 128
        return shaken

    return _moving_camera(shot, random, move)


def _panning_camera(shot: Shot, random: PortableRandom, _seconds: float) -> Filmed:
    """A camera that turns slowly from side to side."""
    reach, hertz = random.uniform(0.3, 0.9) * shot.sensor.width, random.uniform(0.03, 0.25)
    tilt, begin = random.uniform(0, 0.2) * shot.sensor.height, random.uniform(0, 1)

    def move(t_s: Floats) -> Floats:
        return np.stack((reach * sine(t_s * hertz + begin), tilt * sine(t_s * hertz / 2)), axis=-1)

    return _moving_camera(shot, random, move)


def _carried_camera(shot: Shot, random: PortableRandom, _seconds: float) -> Filmed:
    """A camera in the hand of a person who walks."""
    unit, steps_hz = shot.sensor.height / 128, random.uniform(1.5, 2.2)
    sizes = [random.uniform(1, 4) * unit for _ in range(2)] + [random.uniform(20, 90) * unit]
    rates = [random.uniform(0.05, 0.3) for _ in range(2)]

    def move(t_s: Floats) -> Floats:
        x = sizes[0] * sine(t_s * steps_hz / 2) + sizes[2] * sine(t_s * rates[0])
        y = sizes[1] * sine(t_s * steps_hz) + 0.3 * sizes[2] * sine(t_s * rates[1])
        return np.stack((x, y), axis=-1)

    return _moving_camera(shot, random, move)


def _thing(draw: Callable[[Sensor, PortableRandom], Shapes]) -> Recipe:
    def recipe(shot: Shot, random: PortableRandom, _seconds: float) -> Filmed:
        return _room(shot, random, shapes=draw(shot.sensor, random))

    return recipe


def _several(shot: Shot, random: PortableRandom, _seconds: float) -> Filmed:
    """Two or three things at once."""
    count = random.pick((2, 3))
    return _room(
        shot,
        random,
        shapes=side_by_side([random.pick(tuple(objects.THINGS.values()))(shot.sensor, random) for _ in range(count)]),
    )


def _person(visit: Callable[[Person, PortableRandom, float, float], Visit]) -> Recipe:
    def recipe(shot: Shot, random: PortableRandom, seconds: float) -> Filmed:
        person = replace(look_named(shot.look).person(random.bits(), 0), seated=False)
        view = place_person(shot, random, random)
        moves = visit(person, random, seconds, half_width_m(shot.sensor, view))
        body = Body(person, view)

        def shapes(t_s: Floats) -> BodyShapes:
            paths, beat, place = moves.at(t_s)
            return body.figure(paths, beat, t_s, place)

        return _room(shot, random, shapes=shapes)

    return recipe


def _stays(*names: str) -> Recipe:
    return _person(lambda person, random, seconds, _wide: staying(names, person, random, seconds=seconds))


GROUPS: dict[str, dict[str, Recipe]] = {
    "room": {
        "noise": _noise,
        "hot-pixels": _hot_pixels,
        "flicker": _flicker,
        "switched-lights": _switched_lights,
    },
    "camera": {
        "shaking-camera": _shaking_camera,
        "panning-camera": _panning_camera,
        "carried-camera": _carried_camera,
    },
    "objects": {name: _thing(draw) for name, draw in objects.THINGS.items()} | {"several-objects": _several},
    "people": {
        "passing-by": _person(
            lambda person, random, seconds, wide: passing(person, random, seconds=seconds, half_width_m=wide)
        ),
        "sitting-and-standing": _person(
            lambda _person, random, seconds, _wide: sitting_and_standing(random, seconds=seconds)
        ),
        "talking": _stays("talk", "talk-with-one-hand", "stand", "hands-together"),
        "phone": _stays("call", "read-a-phone"),
        "waiting": _stays(*EVERYDAY),
    },
}
"""All kinds of negatives, by group."""
NEGATIVES: dict[str, Recipe] = {name: recipe for group in GROUPS.values() for name, recipe in group.items()}
"""All kinds of negatives."""


def label_of(kind: str) -> str:
    """Return the label of a kind of negative: `NO_GESTURE` where there are people, else `NOBODY`."""
    return NO_GESTURE if kind in GROUPS["people"] else NOBODY


def chosen(text: str) -> tuple[str, ...]:
    """Return the kinds that a list such as "all", "objects" or "fan,rain" names.

    Raises:
        EventError: one is unknown; the message lists the known ones.
    """
    known = {"all": tuple(NEGATIVES)} | {group: tuple(kinds) for group, kinds in GROUPS.items()}
    known |= {kind: (kind,) for kind in NEGATIVES}
    if unknown := [name for name in text.split(",") if name not in known]:
        raise EventError(f"unknown negatives {', '.join(map(repr, unknown))}; known: {', '.join(known)}")
    return tuple(dict.fromkeys(kind for name in text.split(",") for kind in known[name]))


def film_negative(
    seed: int, kind: str, *, take: int = 0, seconds: float = 6.0, shot: Shot | None = None
) -> Iterator[EventPacket]:
    """Yield a packet for each 40 ms of a scene without a gesture, its times from 0.

    Args:
        seed: seed of the whole simulated world.
        kind: one of `NEGATIVES`.
        take: number of the repetition; each shows another room, with other things or people.
        seconds: length.
        shot: the camera; None for the default.

    Raises:
        EventError: there is no such kind, or the length is not positive.
    """
    if kind not in NEGATIVES or not 0 < seconds <= 86_400:
        raise EventError(f"expected one of {', '.join(NEGATIVES)} and 0 to 86,400 s, got {kind!r} and {seconds:g} s")
    shot = shot or Shot()
    random = PortableRandom("negative", seed, kind, take)
    filmed = NEGATIVES[kind](shot, random, seconds)
    return film(filmed.scene, shot.sensor, filmed.pixels, seed=seed, noise=random.bits(), seconds=seconds)
