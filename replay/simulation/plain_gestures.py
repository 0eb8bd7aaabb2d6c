"""Simple paths of the wrists for the eleven gestures; the noisy channel was trained on them, so they stay."""

from __future__ import annotations

import numpy as np

from eventveil.replay.simulation.portable_random import sine
from eventveil.replay.simulation.wrist_paths import MIRROR, Beat, Path, Paths, one_hand, points


def _clap(beat: Beat) -> Paths:
    gap = 0.03 + 0.07 * np.maximum(1 + beat.swing(), 0)
    right = points(-gap, 0.2 + 0.02 * beat.swing(0.2), 0.3)
    return right, right * MIRROR


def _wave(side: int) -> Path:
    def path(beat: Beat) -> Paths:
        swing = beat.swing()
        waving = points(side * 0.34 + 0.15 * swing, -0.06 + 0.06 * swing * swing, 0.12)
        return one_hand(side, waving, beat)

    return path


def _circle(side: int, turn: int) -> Path:
    """Return a large circle next to the body; `turn` is 1 where it runs clockwise in the picture."""

    def path(beat: Beat) -> Paths:
        across, down = beat.circle()
        circling = points(side * 0.34 + 0.26 * across, 0.28 * turn * down, 0.2 + 0.05 * across)
        return one_hand(side, circling, beat)

    return path


def _roll(beat: Beat) -> Paths:
    down, ahead = beat.circle()
    left_down, left_ahead = beat.circle(0.5 + beat.lag)
    right = points(0.05, 0.2 + 0.11 * down, 0.28 + 0.1 * ahead)
    left = points(-0.05, 0.2 + 0.11 * left_down, 0.28 + 0.1 * left_ahead)
    return right, left


def _drum(beat: Beat) -> Paths:
    late = 0.5 + beat.lag
    right = points(-0.17, 0.16 + 0.13 * beat.swing(), 0.28 - 0.05 * beat.swing(0.1))
    left = points(0.17, 0.16 + 0.13 * beat.swing(late), 0.28 - 0.05 * beat.swing(late + 0.1))
    return right, left


def _guitar(beat: Beat) -> Paths:
    strum, slide = beat.swing(), sine(beat.turns / 7)
    right = points(-0.13 - 0.03 * strum, 0.34 + 0.09 * strum, 0.22)
    left = points(0.42 + 0.05 * slide, 0.08 - 0.02 * slide, 0.2)
    return right, left


def _push(beat: Beat) -> Paths:
    swing = beat.swing()
    return one_hand(-1, points(-0.15 - 0.05 * swing, 0.12 - 0.05 * swing, 0.28 + 0.2 * swing), beat)


def _wipe(beat: Beat) -> Paths:
    return one_hand(-1, points(-0.05 + 0.25 * beat.swing(), 0.15, 0.35), beat)


def _salute(beat: Beat) -> Paths:
    swing = beat.swing()
    return one_hand(-1, points(-0.2 - 0.1 * swing, 0.02 + 0.2 * swing, 0.2), beat)


def _flap(beat: Beat) -> Paths:
    right = points(-0.45, 0.1 + 0.25 * beat.swing(), 0.05)
    return right, right * MIRROR


PATHS: tuple[tuple[float, Path], ...] = (
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
"""Default repetitions per second, and the path, by gesture."""

OTHERS = tuple((1.5, path) for path in (_push, _wipe, _salute, _flap))
"""The same for "other gestures": a person makes one of these."""
