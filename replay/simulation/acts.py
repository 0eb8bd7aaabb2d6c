"""What simulated people do when they make no gesture: stand, talk, drink, look at a phone, come and go.

An act gives the paths of the wrists, the beat that the head follows, and the place of the person, all in metres. It
knows nothing of the camera.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from eventveil.replay.simulation.gestures import Performance
from eventveil.replay.simulation.person import Person
from eventveil.replay.simulation.portable_random import Floats, PortableRandom, sine
from eventveil.replay.simulation.wrist_paths import MIRROR, Paths, points

RELAXED = 0.5  # opening of a hand that does nothing
Motion = tuple[Paths, Floats, Floats]
"""Paths of the right and the left wrist (n, 4), beat (n,), and place of the person (n, 3)."""


class Act(Protocol):
    """One thing that a person does."""

    def at(self, t_s: Floats) -> Motion:
        """Return the motion at the times `t_s` (n,), seconds from the beginning of the act."""
        ...


class Gesture:
    """A gesture made on the spot."""

    def __init__(self, gesture: int, person: Person, random: PortableRandom) -> None:
        self._performance = Performance(gesture, person, random)

    def at(self, t_s: Floats) -> Motion:
        """Return the motion at the times `t_s` (n,)."""
        paths, beat = self._performance.at(t_s)
        return paths, beat, np.zeros((len(t_s), 3))


class Wander:
    """A slow movement about zero that never repeats: three oscillations of drawn rates and phases.

    Args:
        random: gives rates and phases.
        size: amplitude in each direction, metres (3,).
        hertz: typical rate.
    """

    def __init__(self, random: PortableRandom, size: tuple[float, float, float], hertz: float) -> None:
        self._size = np.array(size)
        self._waves = [
            [(hertz * random.uniform(0.3, 1.7), random.uniform(0, 1), 0.5) for _ in range(3)] for _axis in range(3)
        ]

    def at(self, t_s: Floats) -> Floats:
        """Return the movement (n, 3)."""
        axes = [sum(share * sine(t_s * hertz + begin) for hertz, begin, share in waves) for waves in self._waves]
        moved: Floats = np.stack(axes, axis=-1) * self._size
        return moved


class Everyday:
    """Hands near two places, which they leave now and then, and a head that moves a little.

    Args:
        random: of all variation.
        right, left: places of the wrists, metres from the neck.
        busy: amplitude of the hands' movement, metres.
        hertz: its rate.
        nod: strength of the head's movement, relative to the person's own.
        pause: share of the time in which the hands rest, 0 to 1.
    """

    def __init__(
        self,
        random: PortableRandom,
        right: tuple[float, float, float],
        left: tuple[float, float, float],
        *,
        busy: float = 0.008,
        hertz: float = 0.5,
        nod: float = 0.5,
        pause: float = 0.3,
    ) -> None:
        spread = np.array([random.uniform(-0.03, 0.03) for _ in range(6)]).reshape(2, 3)
        self._places = np.array((right, left)) + spread
        size = (busy, busy, busy)
        self._hands = Wander(random, size, hertz), Wander(random, size, hertz)
        self._head = Wander(random, (nod, nod, nod), 0.6)
        self._waking = random.uniform(0.15, 0.4), random.uniform(0, 1)
        self._pause = pause

    def at(self, t_s: Floats) -> Motion:
        """Return the motion at the times `t_s` (n,)."""
        hertz, begin = self._waking
        awake = np.clip(2 * (sine(t_s * hertz + begin) + 1 - 2 * self._pause) + 0.5, 0, 1)[:, None]
        hands = (place + awake * hand.at(t_s) for place, hand in zip(self._places, self._hands, strict=True))
        right, left = (points(*hand.T, fingers=RELAXED) for hand in hands)
        return (right, left), self._head.at(t_s)[:, 0], np.zeros((len(t_s), 3))


class Walk:
    """Walk from one place to another; the arms swing and the body bobs with each step.

    Args:
        random: of pace and phase.
        start, end: places, metres to the right of the usual one.
        metres_per_s: speed.
        down: metres below the usual place.
    """

    def __init__(
        self, random: PortableRandom, start: float, end: float, metres_per_s: float, down: float = 0.0
    ) -> None:
        self._start, self._end, self._down = start, end, down
        self.seconds = abs(end - start) / metres_per_s
        self._steps_hz = random.uniform(1.6, 2.1)
        self._begin = random.uniform(0, 1)
        self._swing = random.uniform(0.04, 0.12)

    def at(self, t_s: Floats) -> Motion:
        """Return the motion at the times `t_s` (n,); the person stands still after the end."""
        share = np.clip(t_s / self.seconds, 0, 1) if self.seconds else np.ones(len(t_s))
        moving = smooth(8 * share) * smooth(8 * (1 - share))  # the first and the last step are smaller
        step = t_s * self._steps_hz + self._begin
        swing = moving * self._swing * sine(step / 2)
        zero = np.zeros(len(t_s))
        right = points(-0.25 + 0.3 * swing, 0.56 - 0.3 * np.abs(swing), 0.05 + 2 * swing, fingers=RELAXED)
        left = points(0.25 + 0.3 * swing, 0.56 - 0.3 * np.abs(swing), 0.05 - 2 * swing, fingers=RELAXED)
        bob = 0.015 * moving * sine(step)
        place = np.stack((self._start + (self._end - self._start) * share, self._down + bob, zero), axis=-1)
        return (right, left), 0.3 * sine(step), place


class Lower:
    """Sit down or stand up: the body sinks or rises by `metres` in a drawn time, hands near the lap.

    Args:
        random: of the time it takes.
        start, end: metres below the usual place.
    """

    def __init__(self, random: PortableRandom, start: float, end: float) -> None:
        self._start, self._end = start, end
        self._take_s, self._lean = random.uniform(0.8, 1.8), random.uniform(0.02, 0.12)

    def at(self, t_s: Floats) -> Motion:
        """Return the motion at the times `t_s` (n,)."""
        share = smooth(t_s / self._take_s)
        lean = self._lean * 4 * share * (1 - share)
        zero = np.zeros(len(t_s))
        down = self._start + (self._end - self._start) * share
        hands = points(0.17 + zero, 0.5 - lean, 0.15 + 2 * lean, fingers=RELAXED)
        return (hands * MIRROR, hands), lean * 4, np.stack((lean, down + 0.5 * lean, 1.5 * lean), axis=-1)


def smooth(share: Floats) -> Floats:
    """Ease from 0 to 1 as `share` goes from 0 to 1, without a jump in speed (3s² - 2s³)."""
    s = np.clip(share, 0, 1)
    eased: Floats = s * s * (3 - 2 * s)
    return eased


def everyday(name: str, person: Person, random: PortableRandom) -> Everyday:
    """Return an act on the spot, one of `EVERYDAY`; left-handed people use the other hand."""
    right, left, values = EVERYDAY[name](random)
    if person.left_handed:
        right, left = (-left[0], *left[1:]), (-right[0], *right[1:])
    return Everyday(random, right, left, **values)


Point = tuple[float, float, float]
Settings = tuple[Point, Point, dict[str, float]]
HANGING: Point = (-0.24, 0.57, 0.03)
HANGING_LEFT: Point = (0.24, 0.57, 0.03)


def _stand(random: PortableRandom) -> Settings:
    return HANGING, HANGING_LEFT, {"busy": random.uniform(0.0, 0.02)}


def _fold_arms(_random: PortableRandom) -> Settings:
    return (0.12, 0.26, 0.2), (-0.12, 0.24, 0.22), {"busy": 0.006}


def _hands_on_hips(_random: PortableRandom) -> Settings:
    return (-0.2, 0.42, 0.05), (0.2, 0.42, 0.05), {"busy": 0.006}


def _hands_together(random: PortableRandom) -> Settings:
    return (-0.04, 0.4, 0.22), (0.04, 0.4, 0.22), {"busy": random.uniform(0.005, 0.02)}


def _talk(random: PortableRandom) -> Settings:
    lively = {"busy": random.uniform(0.03, 0.09), "hertz": random.uniform(0.6, 1.4), "nod": 2.0, "pause": 0.4}
    return (-0.16, 0.32, 0.2), (0.16, 0.32, 0.2), lively


def _talk_with_one_hand(random: PortableRandom) -> Settings:
    lively = {"busy": random.uniform(0.03, 0.08), "hertz": random.uniform(0.6, 1.3), "nod": 1.5, "pause": 0.5}
    return (-0.2, 0.28, 0.22), HANGING_LEFT, lively


def _call(_random: PortableRandom) -> Settings:
    return (-0.12, -0.1, 0.08), HANGING_LEFT, {"busy": 0.008, "nod": 1.5}


def _read_a_phone(random: PortableRandom) -> Settings:
    return (-0.06, 0.2, 0.28), (0.05, 0.22, 0.26), {"busy": random.uniform(0.004, 0.012), "hertz": 1.5}


def _drink(_random: PortableRandom) -> Settings:
    return (-0.08, 0.1, 0.2), HANGING_LEFT, {"busy": 0.12, "hertz": 0.25, "pause": 0.5}


def _scratch(_random: PortableRandom) -> Settings:
    return (-0.11, -0.14, 0.12), HANGING_LEFT, {"busy": 0.02, "hertz": 2.5, "pause": 0.5}


EVERYDAY: dict[str, Callable[[PortableRandom], Settings]] = {
    "stand": _stand,
    "fold-arms": _fold_arms,
    "hands-on-hips": _hands_on_hips,
    "hands-together": _hands_together,
    "talk": _talk,
    "talk-with-one-hand": _talk_with_one_hand,
    "call": _call,
    "read-a-phone": _read_a_phone,
    "drink": _drink,
    "scratch": _scratch,
}
"""Acts on the spot: places of the right and the left wrist, and settings of `Everyday`."""
