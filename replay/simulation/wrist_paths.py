"""What paths of the wrists are made of: the rhythm of a take, and points in front of a person.

Points are metres from the middle of the neck: x to the right of the picture, y down, z towards the camera. The right
hand is therefore on the left. A fourth column is the opening of the hand, 0 a fist and 1 stretched out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from eventveil.replay.simulation.portable_random import Floats, sine

MIRROR = np.array([-1.0, 1.0, 1.0, 1.0])


@dataclass(frozen=True, slots=True)
class Beat:
    """The rhythm of a take: completed `turns` (n,) and `size` (n,) of the motion; the person's `snap` and `lag`.

    `style`, 0 to 1, chooses between ways to make the same gesture.
    """

    turns: Floats
    size: Floats
    snap: float
    lag: float
    style: float = 0.0

    def swing(self, shift: float = 0.0) -> Floats:
        """Return the motion back and forth (n,), about -1 to 1, `shift` turns ahead."""
        turns = self.turns + shift
        return self.size * (sine(turns) + self.snap * sine(2 * turns))

    def circle(self, shift: float = 0.0) -> tuple[Floats, Floats]:
        """Return the two coordinates (n,) of a circular motion."""
        turns = self.turns + shift
        return self.size * sine(turns + 0.25), self.size * sine(turns)


Paths = tuple[Floats, Floats]
"""Target positions of the right and the left wrist, metres, and opening of the hands, (n, 4) each."""
Path = Callable[[Beat], Paths]


def points(x: Floats | float, y: Floats | float, z: Floats | float, *, fingers: float = 1.0) -> Floats:
    """Return a path (n, 4) from its columns."""
    return np.stack(np.broadcast_arrays(x, y, z, fingers), axis=-1)


def resting(beat: Beat, side: int) -> Floats:
    """Return the path of a hand that hangs next to the body; `side` is -1 for the right hand."""
    return points(side * 0.24 + 0 * beat.turns, 0.58, 0.02)


def one_hand(side: int, moving: Floats, beat: Beat) -> Paths:
    """Return the paths where only the hand of this side moves."""
    other = resting(beat, -side)
    return (moving, other) if side < 0 else (other, moving)
