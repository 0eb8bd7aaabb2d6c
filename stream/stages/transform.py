"""The transforms: anonymize (raw windows in, sealed anonymized windows or words out) and classify (adds scores).

They implement `eventveil.stream.runtime.stage.Transform`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from eventveil.errors import AnonymizerError
from eventveil.stream.runtime.windows import AnonymizedWindow, ChosenWord, RawWindow, Seal

AnonymizeFunction = Callable[[Sequence[npt.NDArray[Any]]], npt.NDArray[np.float32]]


class AnonymizeTransform:
    """Anonymizes what has arrived, from any number of streams, as one batch.

    Args:
        anonymize: the network, `eventveil.models.runtime.Anonymizer`, which checks its own output.
        seal: the mark without which the publisher refuses a window.
        min_density: a raw window with fewer events per pixel is marked as quiet; None marks none.
    """

    def __init__(self, anonymize: AnonymizeFunction, seal: Seal, min_density: float | None = None) -> None:
        self._anonymize = anonymize
        self._seal = seal
        self._min_density = min_density

    def process(self, windows: Sequence[RawWindow]) -> list[AnonymizedWindow]:
        """Anonymize a batch.

        Raises:
            AnonymizerError: the network failed. No window of the batch is returned.
        """
        values = self._anonymize([window.counts for window in windows])
        if len(values) != len(windows):
            raise AnonymizerError(f"expected {len(windows)} anonymized windows, got {len(values)}: none is published")
        return [
            self._seal.set(window.origin, value, quiet=self._is_quiet(window))
            for window, value in zip(windows, values, strict=True)
        ]

    def _is_quiet(self, window: RawWindow) -> bool:
        if self._min_density is None:
            return False
        height, width = window.counts.shape[-2:]
        return bool(window.counts.sum() < self._min_density * height * width)


ChooseFunction = Callable[[Sequence[npt.NDArray[Any]], Sequence[str], Sequence[int]], Sequence[int]]


class ChooseWordTransform:
    """Chooses the word of a book for each window: the anonymizer of a stand-in.

    A word stands for the last step of its window, and its origin says so. Windows overlap, what is published does not.

    Args:
        choose: the network and its rule, `eventveil.models.stand_in_runtime.StandInRuntime`.
        seal: the mark without which the publisher refuses a word.
        step_us: length of a step.
    """

    def __init__(self, choose: ChooseFunction, seal: Seal, step_us: int) -> None:
        self._choose = choose
        self._seal = seal
        self._step_us = step_us

    def process(self, windows: Sequence[RawWindow]) -> list[ChosenWord]:
        """Choose the words of a batch.

        Raises:
            AnonymizerError: the network failed. No word of the batch is returned.
        """
        origins = [window.origin for window in windows]
        words = self._choose(
            [window.counts for window in windows],
            [origin.stream for origin in origins],
            [origin.t_end_us for origin in origins],
        )
        if len(words) != len(windows):
            raise AnonymizerError(f"expected {len(windows)} words, got {len(words)}: none is published")
        return [
            self._seal.set_word(replace(origin, t_start_us=origin.t_end_us - self._step_us), word)
            for origin, word in zip(origins, words, strict=True)
        ]


ClassifyFunction = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]


class ClassifyTransform:
    """Adds scores to anonymized windows.

    Args:
        classify: the network, `eventveil.models.runtime.Classifier`: (N, C, H, W) to (N, classes).
    """

    def __init__(self, classify: ClassifyFunction) -> None:
        self._classify = classify

    def process(self, windows: Sequence[AnonymizedWindow]) -> list[AnonymizedWindow]:
        """Classify a batch."""
        scores = self._classify(np.stack([window.values for window in windows]))
        return [window.with_scores(score) for window, score in zip(windows, scores, strict=True)]
