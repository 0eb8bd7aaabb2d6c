"""What is published of a classifier's scores, and nothing else of them.

The scores themselves stay on the machine: the anonymizer's code can be computed back from eleven float32 of a window.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def published_gesture(scores: npt.NDArray[np.floating]) -> tuple[int, float]:
    """Return the number of the most probable class, and its probability, rounded to 0.01.

    Args:
        scores: (classes,), the probability of each class.

    >>> published_gesture(np.array([0.1234, 0.4567, 0.4199], np.float32))
    (1, 0.46)
    """
    best = int(scores.argmax())
    return best, round(float(scores[best]), 2)
