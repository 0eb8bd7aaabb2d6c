"""Paths of the wrists as people in real recordings make the eleven gestures.

The first ten were read frame by frame off ten real trials of one person, and varied: people clap higher or lower, more
with one hand or with both alike. Those of "other gestures", which people invent themselves, are invented here, too. x
and y are as the picture shows them.
"""

from __future__ import annotations

import numpy as np

from eventveil.replay.simulation.portable_random import Floats, sine
from eventveil.replay.simulation.wrist_paths import MIRROR, Beat, Path, Paths, one_hand, points, resting


def clap(beat: Beat) -> Paths:
    """Clap: the right hand falls onto the left from up to half a forearm's height, and the left comes to meet it."""
    fall = np.clip(0.5 + 0.55 * beat.swing(), 0, 1)
    rest = 1 - fall
    raised = 0.12 * beat.style
    right = points(-0.05 - 0.15 * rest, 0.28 - raised * rest, 0.26 - 0.04 * rest, fingers=0.6)
    apart = (0.12 - 0.05 * beat.style) * rest
    return right, points(0.06 + apart, 0.28, 0.24 - 0.04 * rest, fingers=0.6)


def _wave(side: int) -> Path:
    """Return a forearm that turns about a low elbow."""

    def path(beat: Beat) -> Paths:
        swing = beat.swing()
        return one_hand(side, points(side * 0.33 + 0.14 * swing, -0.06 + 0.06 * swing * swing, 0.13), beat)

    return path


def _circle(side: int, turn: int) -> Path:
    """Return a circle that is higher than wide; `turn` is 1 where it runs clockwise in the picture."""

    def path(beat: Beat) -> Paths:
        across, down = beat.circle()
        return one_hand(side, points(side * 0.36 + 0.22 * across, 0.05 + 0.38 * turn * down, 0.2), beat)

    return path


def _roll(beat: Beat) -> Paths:
    """Roll fists about each other before the chest."""
    down, ahead = beat.circle()
    left_down, left_ahead = beat.circle(0.5 + beat.lag)
    right = points(-0.03, 0.29 + 0.13 * down, 0.25 + 0.1 * ahead, fingers=0)
    return right, points(0.03, 0.29 + 0.13 * left_down, 0.25 + 0.1 * left_ahead, fingers=0)


def drum(beat: Beat) -> Paths:
    """Drum in wide loops, with both fists in turn."""
    return _drumming(-1, beat, 0.0), _drumming(1, beat, 0.5 + beat.lag)


def drum_with_one_hand(beat: Beat) -> Paths:
    """Drum with the right fist only."""
    return _drumming(-1, beat, 0.0), resting(beat, 1)


def _drumming(side: int, beat: Beat, shift: float) -> Floats:
    """Turn a forearm about its elbow, from upright to hanging; half-way it points to the camera."""
    swing, loop = beat.swing(shift), beat.swing(shift + 0.25)
    middle = np.maximum(1 - swing * swing, 0)
    x, y, z = side * (0.2 - 0.08 * middle + 0.03 * loop), 0.31 + 0.19 * swing, 0.12 + 0.14 * middle
    return points(x, y, z, fingers=0)


def _guitar(beat: Beat) -> Paths:
    strum, slide = beat.swing(), sine(beat.turns / 7)
    right = points(-0.13 - 0.07 * strum, 0.42 + 0.07 * strum, 0.2, fingers=0.3)
    return right, points(0.44 + 0.04 * slide, 0.1 - 0.02 * slide, 0.2, fingers=0.3)


NATURAL_PATHS: tuple[tuple[float, Path], ...] = (
    (2.8, clap),
    (1.8, _wave(-1)),
    (1.8, _wave(1)),
    (1.05, _circle(-1, -1)),
    (1.05, _circle(-1, 1)),
    (1.05, _circle(1, -1)),
    (1.05, _circle(1, 1)),
    (1.2, _roll),
    (1.75, drum),
    (3.3, _guitar),
)
"""Default repetitions per second, and the path, by gesture."""


def _both(right: Floats) -> Paths:
    return right, right * MIRROR


def _jumping_jack(beat: Beat) -> Paths:
    """Raise both stretched arms from the sides to above the head, and lower them."""
    swing = beat.swing()
    return _both(points(-0.3 - 0.2 * np.maximum(1 - swing * swing, 0), 0.05 + 0.45 * swing, 0.03))


def _clap_above(beat: Beat) -> Paths:
    """Clap above the head."""
    swing = beat.swing()
    return _both(points(-0.2 + 0.15 * swing, -0.33 - 0.07 * swing, 0.08))


def _box(beat: Beat) -> Paths:
    """Punch at the camera with both fists in turn."""
    right, left = beat.swing(), beat.swing(0.5 + beat.lag)
    return (
        points(-0.13 + 0.06 * right, 0.12 - 0.05 * right, 0.26 + 0.2 * right, fingers=0),
        points(0.13 - 0.06 * left, 0.12 - 0.05 * left, 0.26 + 0.2 * left, fingers=0),
    )


def _salute(beat: Beat) -> Paths:
    """Bring a flat hand from the hip to the forehead, and back."""
    swing = beat.swing()
    return one_hand(-1, points(-0.2 + 0.08 * swing, 0.17 - 0.29 * swing, 0.12 + 0.06 * swing), beat)


def _flap(beat: Beat) -> Paths:
    """Flap both arms like wings."""
    return _both(points(-0.45, 0.1 + 0.25 * beat.swing(), 0.05))


def _stretch(beat: Beat) -> Paths:
    """Open both arms from the chest to the sides, and close them."""
    swing = beat.swing()
    return _both(points(-0.3 - 0.2 * swing, 0.12, 0.2 - 0.1 * swing))


def _swim(beat: Beat) -> Paths:
    """Crawl: both arms circle forward in turn."""
    down, ahead = beat.circle()
    left_down, left_ahead = beat.circle(0.5 + beat.lag)
    return (
        points(-0.2, 0.02 + 0.24 * down, 0.2 + 0.2 * ahead),
        points(0.2, 0.02 + 0.24 * left_down, 0.2 + 0.2 * left_ahead),
    )


def _push_up(beat: Beat) -> Paths:
    """Push both fists up from the shoulders, as with a barbell."""
    return _both(points(-0.26 - 0.02 * beat.swing(), -0.15 - 0.22 * beat.swing(), 0.1, fingers=0))


def _cheer(beat: Beat) -> Paths:
    """Wave with both hands above the head."""
    swing = beat.swing()
    lift = -0.3 + 0.04 * swing * swing
    return points(-0.26 + 0.12 * swing, lift, 0.08), points(0.26 + 0.12 * swing, lift, 0.08)


NATURAL_OTHERS: tuple[tuple[float, Path], ...] = (
    (0.9, _jumping_jack),
    (1.6, _clap_above),
    (1.5, _box),
    (0.8, _salute),
    (1.4, _flap),
    (0.9, _stretch),
    (0.9, _swim),
    (1.1, _push_up),
    (1.3, _cheer),
)
"""The same for "other gestures": a person makes one of these. None is a wave, a circle or a clap before the chest."""
