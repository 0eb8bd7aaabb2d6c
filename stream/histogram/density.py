"""Measures the event density of a source's windows and compares it with that of the training data.

Density is the number of events per pixel of a window, over all bins and both polarities: it describes the network's
input independently of sensor, crop and window length. A network trained on a density of tens fails on hundreds.
"""

from __future__ import annotations

from collections import deque

import numpy as np

FAR = 3.0  # a mismatch exceeds the range of nearly all training windows by this factor
WINDOWS = 20  # number of latest windows that are compared
MIN_WINDOWS = 5  # with fewer, nothing is reported

Trained = tuple[float, float, float]
"""The 1 %, 50 % and 99 % quantiles of the density of training windows; see `models.metadata.TrainedScene`."""


class DensityMeter:
    """Measures the density of the latest windows of one source.

    Args:
        pixels: width times height of a window.
    """

    def __init__(self, pixels: int) -> None:
        self._pixels = pixels
        self._latest: deque[float] = deque(maxlen=WINDOWS)

    def add(self, events: int) -> None:
        """Add a window with this many events."""
        self._latest.append(events / self._pixels)

    def values(self) -> dict[str, float | None]:
        """Return the median and the maximum over the latest windows, for a report; None until there are enough."""
        if len(self._latest) < MIN_WINDOWS:
            return {"density": None, "density_most": None}
        return {"density": float(np.median(self._latest)), "density_most": max(self._latest)}


def training_mismatch(trained: Trained | None, median: float | None, maximum: float | None) -> str | None:
    """Describe how the windows differ from those of the training, if they differ greatly; else return None.

    Too many events are detected by the median window. Too few are detected by the densest one: without motion, most
    windows are rightly almost empty.

    Args:
        trained: density in training; None if the weights do not record it.
        median: median density of the windows; None if there are none yet.
        maximum: density of the densest window.
    """
    if trained is None or median is None or maximum is None:
        return None
    low, _, high = trained
    if median > FAR * high:
        return (
            f"far more events than in training: {median:.3g} per pixel of a window, where training windows rarely had "
            f"more than {high:.3g}; lower the camera's sensitivity or event rate, mask hot pixels, filter noise "
            "(scene.noise_us), or inspect its view with `eventveil calibrate`"
        )
    if maximum < low / FAR:
        return (
            f"far fewer events than in training: at most {maximum:.3g} per pixel of a window, where training windows "
            f"rarely had less than {low:.3g}; is a person in view, is the lens open and in focus, is the sensitivity "
            "high enough? `eventveil calibrate` shows the camera's view"
        )
    return None
