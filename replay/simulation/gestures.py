"""The eleven gestures of DVS128 Gesture as paths of the two hands, varied by person and take.

Points are metres from the middle of the neck: x to the right of the picture, y down, z towards the camera. The right
hand is therefore on the left. "Clockwise" is from the person's own view, as in the real recordings: in the picture the
arm turns the other way.

Source of the classes and their order: Amir et al., A Low Power, Fully Event-Based Gesture Recognition System
(CVPR 2017).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from eventveil.errors import EventError
from eventveil.replay.datasets.dvs_gesture import GESTURES
from eventveil.replay.simulation.person import Person
from eventveil.replay.simulation.portable_random import Floats, PortableRandom, sine

USUAL_REACH_M = 0.53  # shoulder to wrist, for which the paths below are made
MIRROR = np.array([-1.0, 1.0, 1.0])


@dataclass(frozen=True, slots=True)
class Beat:
    """The rhythm of a take: completed `turns` (n,) and `size` (n,) of the motion; the person's `snap` and `lag`."""

    turns: Floats
    size: Floats
    snap: float
    lag: float

    def swing(self, shift: float = 0.0) -> Floats:
        """Return the motion back and forth (n,), about -1 to 1, `shift` turns ahead."""
        turns = self.turns + shift
        return self.size * (sine(turns) + self.snap * sine(2 * turns))

    def circle(self, shift: float = 0.0) -> tuple[Floats, Floats]:
        """Return the two coordinates (n,) of a circular motion."""
        turns = self.turns + shift
        return self.size * sine(turns + 0.25), self.size * sine(turns)


Paths = tuple[Floats, Floats]
"""Target positions of the right and the left wrist, metres (n, 3) each."""


class Performance:
    """One take: a person making a gesture, with variation drawn from `random`.

    Raises:
        EventError: no such gesture.
    """

    def __init__(self, gesture: int, person: Person, random: PortableRandom) -> None:
        if not 0 <= gesture < len(GESTURES):
            raise EventError(f"expected a gesture from 0 to {len(GESTURES) - 1}, got {gesture}")
        self._person = person
        hertz, path = PATHS[gesture] if gesture < len(PATHS) else (1.5, random.pick(OTHERS))
        self._path = path
        self._mirrored = gesture == len(PATHS) and person.left_handed
        self._hertz = hertz * person.tempo * random.uniform(0.9, 1.1)
        self._begin = random.uniform(0, 1)
        self._size = person.amplitude * random.uniform(0.85, 1.15)
        self._drift = tuple(random.uniform(low, high) for low, high in ((0, 0.12), (0.1, 0.4), (0, 1)))
        self._fade = tuple(random.uniform(low, high) for low, high in ((0, 0.2), (0.1, 0.5), (0, 1)))
        self._aim = np.array([random.uniform(-0.03, 0.03) for _ in range(3)])

    def at(self, t_s: Floats) -> tuple[Paths, Floats]:
        """Return the paths at the times `t_s` (n,), and the beat (n,) that the body follows."""
        beat = Beat(
            turns=t_s * self._hertz + self._begin + _wander(t_s, self._drift),
            size=self._size * (1 + _wander(t_s, self._fade)),
            snap=self._person.snap,
            lag=self._person.phase,
        )
        right, left = self._path(beat)
        if self._mirrored:
            right, left = left * MIRROR, right * MIRROR
        reach = (self._person.upper_arm + self._person.forearm) / USUAL_REACH_M
        return (right * reach + self._aim, left * reach + self._aim * MIRROR), beat.swing()


def _wander(t_s: Floats, slow: tuple[float, ...]) -> Floats:
    """Return a slow oscillation; `slow` is its amplitude, frequency in hertz and phase in turns."""
    size, hertz, begin = slow
    return size * sine(t_s * hertz + begin)


def _points(x: Floats | float, y: Floats | float, z: Floats | float) -> Floats:
    return np.stack(np.broadcast_arrays(x, y, z), axis=-1)


def _resting(beat: Beat, side: int) -> Floats:
    """Return the path of a hand that hangs next to the body; `side` is -1 for the right hand."""
    return _points(side * 0.24 + 0 * beat.turns, 0.58, 0.02)


def _clap(beat: Beat) -> Paths:
    gap = 0.03 + 0.07 * np.maximum(1 + beat.swing(), 0)
    right = _points(-gap, 0.2 + 0.02 * beat.swing(0.2), 0.3)
    return right, right * MIRROR


def _wave(side: int) -> Callable[[Beat], Paths]:
    def path(beat: Beat) -> Paths:
        swing = beat.swing()
        waving = _points(side * 0.34 + 0.15 * swing, -0.06 + 0.06 * swing * swing, 0.12)
        return _one_hand(side, waving, beat)

    return path


def _circle(side: int, turn: int) -> Callable[[Beat], Paths]:
    """Return a large circle next to the body; `turn` is 1 where it runs clockwise in the picture."""

    def path(beat: Beat) -> Paths:
        across, down = beat.circle()
        circling = _points(side * 0.34 + 0.26 * across, 0.28 * turn * down, 0.2 + 0.05 * across)
        return _one_hand(side, circling, beat)

    return path


def _one_hand(side: int, moving: Floats, beat: Beat) -> Paths:
    resting = _resting(beat, -side)
    return (moving, resting) if side < 0 else (resting, moving)


def _roll(beat: Beat) -> Paths:
    down, ahead = beat.circle()
    left_down, left_ahead = beat.circle(0.5 + beat.lag)
    right = _points(0.05, 0.2 + 0.11 * down, 0.28 + 0.1 * ahead)
    left = _points(-0.05, 0.2 + 0.11 * left_down, 0.28 + 0.1 * left_ahead)
    return right, left


def _drum(beat: Beat) -> Paths:
    late = 0.5 + beat.lag
    right = _points(-0.17, 0.16 + 0.13 * beat.swing(), 0.28 - 0.05 * beat.swing(0.1))
    left = _points(0.17, 0.16 + 0.13 * beat.swing(late), 0.28 - 0.05 * beat.swing(late + 0.1))
    return right, left


def _guitar(beat: Beat) -> Paths:
    strum, slide = beat.swing(), sine(beat.turns / 7)
    right = _points(-0.13 - 0.03 * strum, 0.34 + 0.09 * strum, 0.22)
    left = _points(0.42 + 0.05 * slide, 0.08 - 0.02 * slide, 0.2)
    return right, left


def _push(beat: Beat) -> Paths:
    swing = beat.swing()
    return _one_hand(-1, _points(-0.15 - 0.05 * swing, 0.12 - 0.05 * swing, 0.28 + 0.2 * swing), beat)


def _wipe(beat: Beat) -> Paths:
    return _one_hand(-1, _points(-0.05 + 0.25 * beat.swing(), 0.15, 0.35), beat)


def _salute(beat: Beat) -> Paths:
    swing = beat.swing()
    return _one_hand(-1, _points(-0.2 - 0.1 * swing, 0.02 + 0.2 * swing, 0.2), beat)


def _flap(beat: Beat) -> Paths:
    right = _points(-0.45, 0.1 + 0.25 * beat.swing(), 0.05)
    return right, right * MIRROR


PATHS: tuple[tuple[float, Callable[[Beat], Paths]], ...] = (
    (2.8, _clap),
    (1.8, _wave(-1)),
    (1.8, _wave(1)),
    (1.1, _circle(-1, -1)),
    (1.1, _circle(-1, 1)),
    (1.1, _circle(1, -1)),
    (1.1, _circle(1, 1)),
    (1.6, _roll),
    (1.7, _drum),
    (3.2, _guitar),
)
"""Default repetitions per second, and the path, by gesture; the last gesture, "other", is one of `OTHERS`."""
OTHERS = (_push, _wipe, _salute, _flap)
