"""The simulated camera: records a person who makes a gesture in a room, and yields event packets.

Everything follows from numbers: the person (`subject`), the light (`session`), the gesture, and its repetition
(`take`). The same numbers give the same events on every machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from eventveil.errors import EventError
from eventveil.events import EventPacket, Sensor
from eventveil.replay.datasets.dvs_gesture import GESTURES
from eventveil.replay.simulation.body import Body, BodyShapes, Viewpoint
from eventveil.replay.simulation.canvas import side_by_side
from eventveil.replay.simulation.film import Scene, film
from eventveil.replay.simulation.gestures import Performance
from eventveil.replay.simulation.looks import look_named
from eventveil.replay.simulation.objects import THINGS
from eventveil.replay.simulation.portable_random import Floats, PortableRandom, sine
from eventveil.replay.simulation.scene import LIGHTINGS, Lighting
from eventveil.replay.simulation.sensor import Pixels
from eventveil.replay.simulation.sequence import Labelled, draw_visit

DVS128 = Sensor(128, 128)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """The camera of a scene.

    Attributes:
        sensor: geometry of the camera.
        distance: distance of the camera, relative to the default, at which the picture is about 1.3 m high.
        camera_motion: amplitude of the camera's sway, pixels.
        pixels: properties of the sensor's pixels.
        look: of people, rooms and noise, one of `eventveil.replay.simulation.looks.LOOKS`.

    Raises:
        EventError: a value is out of range.
    """

    sensor: Sensor = DVS128
    distance: float = 1.0
    camera_motion: float = 0.0
    pixels: Pixels = Pixels()  # noqa: RUF009 - frozen
    look: str = "plain"

    def __post_init__(self) -> None:
        if not 0.3 <= self.distance <= 10:
            raise EventError(f"a simulated camera is at 0.3 to 10 times the default distance, got {self.distance:g}")
        if not 0 <= self.camera_motion <= 5:
            raise EventError(f"a simulated camera sways by 0 to 5 pixels, got {self.camera_motion:g}")
        look_named(self.look)


def simulate(
    seed: int,
    *,
    subject: int,
    session: int,
    gesture: int,
    take: int = 0,
    seconds: float = 6.0,
    shot: Shot | None = None,
) -> Iterator[EventPacket]:
    """Yield a packet for each 40 ms of a person making a gesture, its times from 0.

    Args:
        seed: seed of the whole simulated world.
        subject: number of the person.
        session: number of the visit; sets the light, the room and the place in front of the camera. Lights repeat
            after five.
        gesture: 0 to 10, as in `GESTURES`.
        take: number of the repetition of this gesture in this session.
        seconds: length.
        shot: the camera; None for the default.

    Raises:
        EventError: no such gesture or session, or the length is not positive.
    """
    _check(session, seconds)
    shot = shot or Shot()
    name = (seed, subject, session)
    look = look_named(shot.look)
    person = look.person(seed, subject)
    performance = Performance(gesture, person, PortableRandom("take", *name, gesture, take))
    place, placing = PortableRandom("room", *name), PortableRandom("place", *name, gesture, take)
    wall = look.wall(shot.sensor, place)
    view = look.viewpoint(place_person(shot, place, placing), place, shot.sensor)
    body, bystander = Body(person, view), look.bystander(seed, (subject, session), view)
    behind = () if bystander is None else (bystander,)
    shapes = side_by_side((*behind, lambda t_s: body.figure(*performance.at(t_s), t_s)))
    scene = _scene(shot, session, wall, shapes)
    # The camera is the same in all takes; only its noise differs.
    return film(scene, shot.sensor, look.pixels(shot.pixels), seed=seed, noise=placing.bits(), seconds=seconds)


def film_visit(
    seed: int, *, subject: int, session: int, seconds: float = 60.0, shot: Shot | None = None
) -> tuple[Iterator[EventPacket], list[Labelled]]:
    """Film a person who comes, makes gestures at any moment, does other things, and leaves.

    In three visits of ten something else moves in the room all the time.

    Args:
        seed: seed of the whole simulated world.
        subject: number of the person.
        session: number of the visit, as in `simulate`.
        seconds: length.
        shot: the camera; None for the default.

    Returns:
        A packet for each 40 ms, their times from 0, and the labels of all moments in order.

    Raises:
        EventError: no such session, or the length is not positive.
    """
    _check(session, seconds)
    shot = shot or Shot()
    name = (seed, subject, session)
    look, random = look_named(shot.look), PortableRandom("visit", *name)
    person = replace(look.person(seed, subject), seated=False)  # a person who comes and goes does not sit
    place = PortableRandom("room", *name)
    wall = look.wall(shot.sensor, place)
    view = look.viewpoint(place_person(shot, place, random), place, shot.sensor)
    wide = half_width_m(shot.sensor, view)
    visit = draw_visit(person, random, seconds=seconds, half_width_m=wide)
    body = Body(person, view)

    def figure(t_s: Floats) -> BodyShapes:
        paths, beat, place = visit.at(t_s)
        return body.figure(paths, beat, t_s, place)

    behind = [random.pick(tuple(THINGS.values()))(shot.sensor, random)] if random.uniform(0, 1) < 0.3 else []
    packets = film(
        _scene(shot, session, wall, side_by_side((*behind, figure))),
        shot.sensor,
        look.pixels(shot.pixels),
        seed=seed,
        noise=random.bits(),
        seconds=seconds,
    )
    return packets, visit.labels(wide)


def film_series(
    seed: int, *, subject: int, session: int, seconds: float = 2.0, shot: Shot | None = None
) -> tuple[Iterator[EventPacket], list[Labelled]]:
    """Film a person who makes each gesture once, in random order, with a cut in between instead of a transition.

    Args:
        seed: seed of the whole simulated world.
        subject: number of the person.
        session: number of the visit, as in `simulate`.
        seconds: length of each gesture.
        shot: the camera; None for the default.

    Returns:
        Packets, their times from 0, and the labels of all moments in order.

    Raises:
        EventError: no such session, or the length is not positive.
    """
    _check(session, seconds)
    random, length_us = PortableRandom("series", seed, subject, session), round(seconds * 1e6)
    gestures = sorted(range(len(GESTURES)), key=lambda _: random.bits())
    trial = partial(simulate, seed, subject=subject, session=session, seconds=seconds, shot=shot)

    def packets() -> Iterator[EventPacket]:
        for number, gesture in enumerate(gestures):
            for packet in trial(gesture=gesture):
                yield EventPacket(packet.t + number * length_us, packet.x, packet.y, packet.p)

    labels = [
        Labelled(GESTURES[gesture], number * length_us, (number + 1) * length_us)
        for number, gesture in enumerate(gestures)
    ]
    return packets(), labels


def _check(session: int, seconds: float) -> None:
    if session < 0 or not 0 < seconds <= 86_400:
        raise EventError(f"expected a session from 0 on and 0 to 86,400 s, got session {session} and {seconds:g} s")


def _scene(shot: Shot, session: int, wall: Floats, shapes: Callable[[Floats], BodyShapes]) -> Scene:
    """Return a room in the light of a session."""
    lighting = Lighting.named(LIGHTINGS[session % len(LIGHTINGS)])
    return Scene(
        wall=wall,
        shapes=shapes,
        shift=lambda t_s: sway(shot, t_s),
        light=lighting.at,
        side=lighting.side,
    )


def half_width_m(sensor: Sensor, view: Viewpoint) -> float:
    """Return the distance of the further side of the picture from the person's usual place, in metres."""
    return max(view.x, sensor.width - view.x) / view.scale


def sway(shot: Shot, t_s: Floats) -> Floats:
    """Return the movement of the camera at the times `t_s` (n,): pixels (n, 2)."""
    return shot.camera_motion * np.stack((sine(t_s * 0.7), sine(t_s * 1.1 + 0.3)), axis=-1)


def place_person(shot: Shot, place: PortableRandom, placing: PortableRandom) -> Viewpoint:
    """Place the person: drawn for the visit, with a small offset per take."""
    width, height = shot.sensor.width, shot.sensor.height
    near = place.uniform(0.9, 1.1) * placing.uniform(0.97, 1.03) / shot.distance
    across = place.uniform(-0.06, 0.06) + placing.uniform(-0.02, 0.02)
    down = place.uniform(-0.03, 0.03) + placing.uniform(-0.01, 0.01)
    return Viewpoint(0.78 * near * min(width, height), (0.5 + across) * width, (0.52 + down) * height)
