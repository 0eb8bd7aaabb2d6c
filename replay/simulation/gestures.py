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

CAMERA_M = 1.8  # from the camera to the neck, by default
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
        paths = NATURAL_PATHS if person.natural else PATHS
        hertz, path = paths[gesture] if gesture < len(paths) else (1.5, random.pick(OTHERS))
        self._path = path
        self._mirrored = person.left_handed and (gesture == len(paths) or path in (_clap_on_one_hand, _drum_in_loops))
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
        if self._person.one_hand and self._path is _drum_in_loops:
            left = _resting(beat, 1)
        if self._person.seated:
            right, left = _in_lap(right), _in_lap(left)
        if self._person.natural:
            right, left = _from_picture(right), _from_picture(left)
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


def _in_lap(path: Floats) -> Floats:
    """Lift a hand that hangs to the lap of a seated person."""
    low = np.clip((path[:, 1] - 0.4) / 0.18, 0, 1)
    return path + np.stack((-0.1 * np.sign(path[:, 0]) * low, -0.12 * low, 0.2 * low), axis=-1)


def idle(frames: int) -> Paths:
    """Return the paths of hands that do nothing, (frames, 3) each."""
    right = np.tile([-0.24, 0.58, 0.02], (frames, 1))
    return right, right * MIRROR


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


def _from_picture(path: Floats) -> Floats:
    """Shrink a path that was read off a picture, in which what is nearer looks larger."""
    nearness = 1 / (1 - path[:, 2:] / CAMERA_M)
    return path / np.concatenate((nearness, nearness, np.ones_like(nearness)), axis=-1)


def _clap_on_one_hand(beat: Beat) -> Paths:
    fall = np.clip(0.5 + 0.5 * beat.swing(), 0, 1)
    arc = 4 * fall * (1 - fall)  # the forearm turns about its elbow
    right = _points(-0.2 + 0.14 * fall + 0.02 * arc, 0.15 + 0.11 * fall - 0.02 * arc, 0.34)
    return right, _points(0.07, 0.28 + 0.01 * fall, 0.28)


def _wave_from_the_elbow(side: int) -> Callable[[Beat], Paths]:
    def path(beat: Beat) -> Paths:
        swing = beat.swing()
        return _one_hand(side, _points(side * 0.29 + 0.08 * swing, -0.04 + 0.02 * swing * swing, 0.3), beat)

    return path


def _upright_circle(side: int, turn: int) -> Callable[[Beat], Paths]:
    """Return a circle that is higher than wide; `turn` is 1 where it runs clockwise in the picture."""

    def path(beat: Beat) -> Paths:
        across, down = beat.circle()
        circling = _points(side * 0.36 + 0.22 * across, 0.05 + 0.38 * turn * down, 0.2)
        return _one_hand(side, circling, beat)

    return path


def _roll_before_the_chest(beat: Beat) -> Paths:
    down, ahead = beat.circle()
    left_down, left_ahead = beat.circle(0.5 + beat.lag)
    right = _points(-0.03, 0.3 + 0.1 * down, 0.25 + 0.09 * ahead)
    left = _points(0.03, 0.3 + 0.1 * left_down, 0.25 + 0.09 * left_ahead)
    return right, left


def _drum_in_loops(beat: Beat) -> Paths:
    return _drumming(-1, beat, 0.0), _drumming(1, beat, 0.5 + beat.lag)


def _drumming(side: int, beat: Beat, shift: float) -> Floats:
    """Turn a forearm about its elbow, from upright to hanging; half-way it points to the camera."""
    swing, loop = beat.swing(shift), beat.swing(shift + 0.25)
    middle = np.maximum(1 - swing * swing, 0)
    return _points(side * (0.2 - 0.08 * middle + 0.03 * loop), 0.265 + 0.215 * swing, 0.12 + 0.14 * middle)


def _strum_low(beat: Beat) -> Paths:
    strum, slide = beat.swing(), sine(beat.turns / 7)
    right = _points(-0.13 - 0.07 * strum, 0.42 + 0.07 * strum, 0.2)
    left = _points(0.44 + 0.04 * slide, 0.1 - 0.02 * slide, 0.2)
    return right, left


NATURAL_PATHS: tuple[tuple[float, Callable[[Beat], Paths]], ...] = (
    (2.8, _clap_on_one_hand),
    (1.8, _wave_from_the_elbow(-1)),
    (1.8, _wave_from_the_elbow(1)),
    (1.05, _upright_circle(-1, -1)),
    (1.05, _upright_circle(-1, 1)),
    (1.05, _upright_circle(1, -1)),
    (1.05, _upright_circle(1, 1)),
    (1.1, _roll_before_the_chest),
    (1.3, _drum_in_loops),
    (2.8, _strum_low),
)
"""The same as one person makes them in ten real trials, read off frame by frame; x and y as the picture shows them."""

OTHERS = (_push, _wipe, _salute, _flap)
