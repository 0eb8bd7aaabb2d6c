"""How dense events are in the windows of a source, and whether that is what the network was trained on.

Density is events per pixel of the window, all bins and both polarities together: what a network sees, whatever the
sensor, the crop and the length of a window. A network that was trained on tens of them will make little of hundreds.
"""

from __future__ import annotations

from collections import deque

import numpy as np

FAR = 3.0  # so many times beyond what nearly all training windows had
WINDOWS = 20  # looked back on
FEWEST = 5  # before which nothing is said

Trained = tuple[float, float, float]
"""1 %, 50 % and 99 % of the training windows had no more; see `models.metadata.TrainedScene`."""


class DensityMeter:
    """Looks at the latest windows of one source.

    Args:
        pixels: width times height of a window.
    """

    def __init__(self, pixels: int) -> None:
        self._pixels = pixels
        self._latest: deque[float] = deque(maxlen=WINDOWS)

    def add(self, events: int) -> None:
        """Take a window with so many events into account."""
        self._latest.append(events / self._pixels)

    def values(self) -> dict[str, float | None]:
        """The middle one and the highest of the latest windows, for a report; None before there are enough."""
        if len(self._latest) < FEWEST:
            return {"density": None, "density_most": None}
        return {"density": float(np.median(self._latest)), "density_most": max(self._latest)}


def training_mismatch(trained: Trained | None, middle: float | None, most: float | None) -> str | None:
    """Say how the windows differ from those of the training, if they do by far; None where they do not.

    Too many is judged by the middle window. Too few is judged by the busiest one: where nobody moves, most windows are
    all but empty, and that is as it should be.

    Args:
        trained: of the weights; None where they do not tell.
        middle: density of the middle one of the windows, None where there are none yet.
        most: of the densest.
    """
    if trained is None or middle is None or most is None:
        return None
    low, _, high = trained
    if middle > FAR * high:
        return (
            f"far more events than in training: {middle:.3g} per pixel of a window, and there hardly one had more than "
            f"{high:.3g}; lower the camera's sensitivity or event rate, mask hot pixels, filter noise "
            "(scene.noise_us), or look at what it sees with `eventveil calibrate`"
        )
    if most < low / FAR:
        return (
            f"far fewer events than in training: at most {most:.3g} per pixel of a window, and there hardly one had "
            f"less than {low:.3g}; is somebody there, is the lens open and in focus, is the camera sensitive enough? "
            "`eventveil calibrate` shows what it sees"
        )
    return None
