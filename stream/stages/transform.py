"""The transforms: anonymize (raw windows in, sealed anonymized windows out) and classify (adds scores).

Both implement `eventveil.stream.runtime.stage.Transform`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from eventveil.errors import AnonymizerError
from eventveil.stream.runtime.windows import AnonymizedWindow, RawWindow, Seal

AnonymizeFunction = Callable[[Sequence[npt.NDArray[Any]]], npt.NDArray[np.float32]]


class AnonymizeTransform:
    """Anonymizes what has arrived, from any number of streams, as one batch.

    Args:
        anonymize: the network, `eventveil.models.runtime.AnonymizerRuntime`, which checks its own output.
        seal: the mark without which the publisher refuses a window.
    """

    def __init__(self, anonymize: AnonymizeFunction, seal: Seal) -> None:
        self._anonymize = anonymize
        self._seal = seal

    def process(self, windows: Sequence[RawWindow]) -> list[AnonymizedWindow]:
        """Anonymize a batch.

        Raises:
            AnonymizerError: the network failed. No window of the batch is returned.
        """
        values = self._anonymize([window.counts for window in windows])
        if len(values) != len(windows):
            raise AnonymizerError(f"expected {len(windows)} anonymized windows, got {len(values)}: none is published")
        return [self._seal.set(window.origin, value) for window, value in zip(windows, values, strict=True)]


ClassifyFunction = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]


class ClassifyTransform:
    """Adds scores to anonymized windows.

    Args:
        classify: the network, `eventveil.models.runtime.ClassifierRuntime`: (N, C, H, W) to (N, classes).
    """

    def __init__(self, classify: ClassifyFunction) -> None:
        self._classify = classify

    def process(self, windows: Sequence[AnonymizedWindow]) -> list[AnonymizedWindow]:
        """Classify a batch."""
        scores = self._classify(np.stack([window.values for window in windows]))
        return [window.with_scores(score) for window, score in zip(windows, scores, strict=True)]
