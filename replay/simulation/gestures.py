"""The eleven gestures of DVS128 Gesture, varied by person and take.

"Clockwise" is from the person's own view, as in the real recordings: in the picture the arm turns the other way.

Source of the classes and their order: Amir et al., A Low Power, Fully Event-Based Gesture Recognition System
(CVPR 2017).
"""

from __future__ import annotations

import numpy as np

from eventveil.errors import EventError
from eventveil.replay.datasets.dvs_gesture import GESTURES
from eventveil.replay.simulation.natural_gestures import (
    NATURAL_OTHERS,
    NATURAL_PATHS,
    clap,
    drum,
    drum_with_one_hand,
)
from eventveil.replay.simulation.person import Person
from eventveil.replay.simulation.plain_gestures import OTHERS, PATHS
from eventveil.replay.simulation.portable_random import Floats, PortableRandom, sine
from eventveil.replay.simulation.wrist_paths import MIRROR, Beat, Paths, points

CAMERA_M = 1.8  # from the camera to the neck, by default
USUAL_REACH_M = 0.53  # shoulder to wrist, for which the paths are made


class Performance:
    """One take: a person making a gesture, with variation drawn from `random`.

    Raises:
        EventError: no such gesture.
    """

    def __init__(self, gesture: int, person: Person, random: PortableRandom) -> None:
        if not 0 <= gesture < len(GESTURES):
            raise EventError(f"expected a gesture from 0 to {len(GESTURES) - 1}, got {gesture}")
        self._person = person
        paths, others = (NATURAL_PATHS, NATURAL_OTHERS) if person.natural else (PATHS, OTHERS)
        hertz, path = paths[gesture] if gesture < len(paths) else random.pick(others)
        self._mirrored = person.left_handed and (gesture == len(paths) or path in (clap, drum))
        self._path = drum_with_one_hand if person.one_hand and path is drum else path
        self._hertz = hertz * person.tempo * random.uniform(0.9, 1.1)
        self._begin = random.uniform(0, 1)
        self._size = person.amplitude * random.uniform(0.85, 1.15)
        self._drift = tuple(random.uniform(low, high) for low, high in ((0, 0.12), (0.1, 0.4), (0, 1)))
        self._fade = tuple(random.uniform(low, high) for low, high in ((0, 0.2), (0.1, 0.5), (0, 1)))
        self._aim = np.array([random.uniform(-0.03, 0.03) for _ in range(3)] + [0.0])
        self._style = random.uniform(0, 1) if person.natural else 0.0

    def at(self, t_s: Floats) -> tuple[Paths, Floats]:
        """Return the paths at the times `t_s` (n,), and the beat (n,) that the body follows."""
        beat = Beat(
            turns=t_s * self._hertz + self._begin + _wander(t_s, self._drift),
            size=self._size * (1 + _wander(t_s, self._fade)),
            snap=self._person.snap,
            lag=self._person.phase,
            style=self._style,
        )
        right, left = self._path(beat)
        if self._person.seated:
            right, left = _in_lap(right), _in_lap(left)
        if self._person.natural:
            right, left = _from_picture(right), _from_picture(left)
        if self._mirrored:
            right, left = left * MIRROR, right * MIRROR
        reach = (self._person.upper_arm + self._person.forearm) / USUAL_REACH_M
        scale = np.array([reach, reach, reach, 1.0])
        return (right * scale + self._aim, left * scale + self._aim * MIRROR), beat.swing()


def _wander(t_s: Floats, slow: tuple[float, ...]) -> Floats:
    """Return a slow oscillation; `slow` is its amplitude, frequency in hertz and phase in turns."""
    size, hertz, begin = slow
    return size * sine(t_s * hertz + begin)


def _in_lap(path: Floats) -> Floats:
    """Lift a hand that hangs to the lap of a seated person."""
    low = np.clip((path[:, 1] - 0.4) / 0.18, 0, 1)
    return path + points(-0.1 * np.sign(path[:, 0]) * low, -0.12 * low, 0.2 * low, fingers=0)


def _from_picture(path: Floats) -> Floats:
    """Shrink a path that was read off a picture, in which what is nearer looks larger."""
    nearness = 1 / (1 - path[:, 2] / CAMERA_M)
    return path / points(nearness, nearness, 1.0)


def idle(frames: int) -> Paths:
    """Return the paths of hands that do nothing, (frames, 4) each."""
    right = np.tile([-0.24, 0.58, 0.02, 1.0], (frames, 1))
    return right, right * MIRROR
