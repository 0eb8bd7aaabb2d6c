"""The classify stage: recognises the gesture in what the anonymizer let through, and sees nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from eventveil.stream.windows import AnonymizedWindow

Classify = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]


class ClassifyStage:
    """Adds scores to anonymized windows.

    Args:
        classify: the network, `eventveil.models.runtime.ClassifierRuntime`: (N, C, H, W) to (N, classes).
    """

    def __init__(self, classify: Classify) -> None:
        self._classify = classify

    def process(self, windows: Sequence[AnonymizedWindow]) -> list[AnonymizedWindow]:
        """Classify a batch."""
        scores = self._classify(np.stack([window.values for window in windows]))
        return [window.with_scores(score) for window, score in zip(windows, scores, strict=True)]
