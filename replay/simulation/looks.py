"""Looks: how people, rooms and noise differ between sets of recordings, so that the same gestures look different.

What matters most is contrast. An arm that is darker than the wall fires OFF where it advances and ON where it leaves;
an arm that is lighter does the opposite.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from eventveil.errors import EventError
from eventveil.events import Sensor
from eventveil.replay.simulation.body import Body, BodyShapes, Viewpoint
from eventveil.replay.simulation.gestures import idle
from eventveil.replay.simulation.person import PATTERNS, Person
from eventveil.replay.simulation.portable_random import Floats, PortableRandom
from eventveil.replay.simulation.scene import DIM, MARGIN, OBJECTS, Tones, background
from eventveil.replay.simulation.sensor import Pixels

BRIGHT = Tones(wall=(0.65, 0.95), objects=(0.5, 0.9))


@dataclass(frozen=True, slots=True)
class Look:
    """What a set of recordings has in common.

    Attributes:
        dress: changes the clothes, the skin and the way of moving of a person; draws from the numbers of this person.
        rooms: lightness of the walls and of what is on them; each visit has one of these.
        noise_hz: noise events per pixel and second, in any light; None for that of the sensor.
        noise_on: the share of them that is ON.
        off_centre: how far people stand from the middle of the picture at most, as a share of its width.
        bystanders: the share of visits in which another person stands behind the person and does nothing.
    """

    dress: Callable[[Person, PortableRandom], Person]
    rooms: tuple[Tones, ...]
    noise_hz: float | None = None
    noise_on: float = 0.5
    off_centre: float = 0.0
    bystanders: float = 0.0

    def person(self, seed: int, number: int) -> Person:
        """Draw the person of this number."""
        return self.dress(Person.drawn(seed, number), PortableRandom(seed, "look", number))

    def wall(self, sensor: Sensor, random: PortableRandom, *, margin: int = MARGIN, objects: int = OBJECTS) -> Floats:
        """Draw the wall of a room, as `eventveil.replay.simulation.scene.background` returns it."""
        tones = self.rooms[0] if len(self.rooms) == 1 else random.pick(self.rooms)
        return background(sensor, random, tones, margin=margin, objects=objects)

    def pixels(self, pixels: Pixels) -> Pixels:
        """Return the pixels of a sensor with the noise of this look."""
        if self.noise_hz is None:
            return pixels
        # Noise grows as the light falls, to four times that of full light; people stand in half of it or so.
        return replace(pixels, leak_hz=0.0, shot_hz=self.noise_hz / 0.55, shot_on=self.noise_on)

    def viewpoint(self, view: Viewpoint, random: PortableRandom, sensor: Sensor) -> Viewpoint:
        """Move a person to the side, as far as this look allows."""
        if not self.off_centre:
            return view
        return replace(view, x=view.x + random.uniform(-self.off_centre, self.off_centre) * sensor.width)

    def bystander(self, seed: int, visit: tuple[int, int], view: Viewpoint) -> Callable[[Floats], BodyShapes] | None:
        """Return a person who stands behind the subject in this visit (subject and session), or None.

        The number of a bystander is negative, so a bystander is never one of the people of a set.
        """
        random = PortableRandom(seed, "bystander", *visit)
        if not self.bystanders or random.uniform(0, 1) >= self.bystanders:
            return None
        person = self.person(seed, -1 - random.bits() % 1_000_000)
        far = random.uniform(0.5, 0.8)
        aside = random.pick((-1, 1)) * random.uniform(0.4, 0.8) * view.scale
        body = Body(person, Viewpoint(view.scale * far, view.x + aside, view.y))
        return lambda t_s: body.figure(idle(len(t_s)), 0 * t_s, t_s)


def _as_drawn(person: Person, _random: PortableRandom) -> Person:
    return person


def _dress_for_dvs_gesture(person: Person, random: PortableRandom) -> Person:
    """Return a person with bare forearms that are darker than the plain shirt."""
    return replace(
        person,
        skin_light=random.uniform(0.22, 0.4),
        shirt_light=random.uniform(0.5, 0.8),
        pattern="plain",
        long_sleeves=False,
        creases=0.15,
        natural=True,
        sway=0.3 * person.sway,
        nod=0.3 * person.nod,
        elbow=random.uniform(0.3, 0.7),
        amplitude=random.uniform(0.85, 1.05),
    )


def _dress_in_anything(person: Person, random: PortableRandom) -> Person:
    """Return a person in clothes of any lightness; skin, sleeves and shirt are drawn independently."""
    dark = random.pick((False, True))
    return replace(
        person,
        skin_light=random.uniform(0.1, 0.3) if random.pick((False, True)) else random.uniform(0.3, 0.7),
        shirt_light=random.uniform(0.03, 0.2) if dark else random.uniform(0.4, 0.9),
        pattern=random.pick(PATTERNS),
        long_sleeves=random.pick((False, True)),
        creases=random.uniform(0.0, 0.4),
        natural=True,
        elbow=random.uniform(0.4, 1.0),
        amplitude=random.uniform(0.5, 1.1),
        sway=0.5 * person.sway,
        nod=0.5 * person.nod,
        one_hand=random.uniform(0, 1) < 0.25,
        seated=random.uniform(0, 1) < 0.25,
    )


LOOKS = {
    "plain": Look(_as_drawn, (DIM,)),
    "dvs-gesture": Look(_dress_for_dvs_gesture, (BRIGHT,), noise_hz=0.12, noise_on=0.38),
    "varied": Look(_dress_in_anything, (DIM, BRIGHT), noise_hz=0.5, noise_on=0.18, off_centre=0.2, bystanders=0.25),
}
"""The known looks by name."""


def look_named(name: str) -> Look:
    """Return the look of this name.

    Raises:
        EventError: there is none; the message lists the known ones.
    """
    if name not in LOOKS:
        raise EventError(f"unknown look {name!r}; known: {', '.join(LOOKS)}")
    return LOOKS[name]
