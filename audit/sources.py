"""Where the windows under attack come from, if they do not follow from single raw windows.

An anonymizer turns each raw window into one that is published. A stand-in looks at a whole recording: what it publishes
now depends on its decisions before. A source therefore gets all rows of a part, and returns what a subscriber receives.

Legend of axes: R rows, B windows, C channels, H rows of pixels, W columns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt
import torch

from eventveil.models.noise import NoiseGenerator
from eventveil.training.data.windows import Windows

Change = Callable[[torch.Tensor, NoiseGenerator], torch.Tensor]
"""Changes raw counts (B, C, H, W) before anything else sees them, as a condition does."""


class WindowSource(Protocol):
    """Makes the windows of a subject from recordings."""

    def publish(self, raw: Windows, seed: int, device: torch.device) -> Windows:
        """Return the published windows, with the trials and rows of `raw`, in which a row is a bin.

        Args:
            raw: the recordings of one part; the trials of a session follow one another without a gap.
            seed: seed of everything that is random.
            device: to compute on.
        """
        ...

    def under(self, change: Change) -> Self:
        """Return the source for recordings that are changed first."""
        ...


@dataclass(frozen=True)
class PublishedWindows(Windows):
    """Windows of published steps; `rows` holds each picture once, float32 (pictures, 2, H, W).

    Attributes:
        picture_R: number of the picture that each step shows.
        word_R: number of the word of each step; -1 where nothing is published yet.
    """

    picture_R: npt.NDArray[np.int64]
    word_R: npt.NDArray[np.int64]

    def cut(self, start_B: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Return the windows that start at these steps: float32 (B, C, H, W), channel 2k + p."""
        steps = np.asarray(start_B)[:, None] + np.arange(self.shape.per_window)
        windows = self.rows[self.picture_R[steps]]
        return np.asarray(windows.reshape(len(steps), -1, *windows.shape[3:]), np.float32)

    def words(self, start_B: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the words of the windows that start at these steps, (B, bins)."""
        steps = np.asarray(start_B)[:, None] + np.arange(self.shape.per_window)
        return np.asarray(self.word_R[steps])
