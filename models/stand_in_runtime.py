"""Runs a stand-in on NumPy arrays: windows in, numbers of words out. Nothing else of a window leaves it.

It fails closed: every error raises `AnonymizerError` for the whole batch, and none of its words is returned.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from eventveil.errors import AnonymizerCrashError, AnonymizerError, WeightsError
from eventveil.models.decision import DecisionRule
from eventveil.models.device import choose_device, place
from eventveil.models.precision import Rehearsal, made_up_windows
from eventveil.models.stand_in import StandIn
from eventveil.models.transfer import Transfer
from eventveil.models.weights import Weights


class StandInRuntime:
    """Chooses words for batches of windows, of any number of streams. It may be used by one thread at a time.

    Args:
        weights: weights of a stand-in.
        device: cpu, cuda, cuda:N, or auto.
        precision: fp32, or bf16 for the convolutions where the device computes in it.
        below: draws the numbers of the decision rules, as in `DecisionRule`; anything but the operating system's
            entropy is for tests and benchmarks.

    Attributes:
        device: the device that it runs on.

    Raises:
        WeightsError: the weights are not those of a stand-in.
        ConfigError: there is no such device, or it does not compute in this precision.
    """

    def __init__(
        self,
        weights: Weights,
        *,
        device: str = "auto",
        precision: str = "fp32",
        below: Callable[[int], int] = secrets.randbelow,
    ) -> None:
        if not isinstance(weights.model, StandIn):
            raise WeightsError(f"expected weights of a stand-in, got {weights.metadata.kind}; choose another file")
        self.device = choose_device(device)
        self._config = weights.model.config
        self._model = place(weights.model, self.device, precision, weights.metadata.size)
        self._transfer = Transfer(self.device)
        self._shape = weights.metadata.window_shape
        self._below = below
        self._rules: dict[str, DecisionRule] = {}

    def warm_up(self, batch: int = 1) -> None:
        """Score `batch` empty windows, so that memory and kernels are ready for the first live window."""
        self._probabilities([np.zeros(self._shape, np.uint16)] * batch)

    def rehearsal(self, batch: int) -> Rehearsal:
        """Prepare `batch` made-up windows; return a function that runs them and returns their probabilities."""
        return partial(self._probabilities, list(made_up_windows(self._shape, np.uint16, batch)))

    def __call__(self, counts: Sequence[npt.NDArray[Any]], streams: Sequence[str], ends_us: Sequence[int]) -> list[int]:
        """Choose the words of N windows.

        Args:
            counts: N arrays, uint16 (K, 2, H, W); those of one stream in the order of time.
            streams: the stream of each window; each stream has a rule of its own.
            ends_us: the end of each window in stream time, microseconds.

        Returns:
            N numbers of words.

        Raises:
            AnonymizerError: windows of another shape or type, or scores that are not finite. No word of the batch is
                returned.
            AnonymizerCrashError: the device or the network failed; also an `AnonymizerError`.
        """
        probabilities = self._probabilities(counts)
        return [
            self._rule(stream).decide(probability_K, end_us)
            for probability_K, stream, end_us in zip(probabilities, streams, ends_us, strict=True)
        ]

    def forget(self, stream: str) -> None:
        """Drop what is known of a stream that has ended."""
        self._rules.pop(stream, None)

    def _rule(self, stream: str) -> DecisionRule:
        if stream not in self._rules:
            self._rules[stream] = DecisionRule(self._config, below=self._below)
        return self._rules[stream]

    def _probabilities(self, counts: Sequence[npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
        for window in counts:
            if window.shape != self._shape or window.dtype != np.uint16:
                raise AnonymizerError(
                    f"expected windows of uint16 {self._shape} for these weights, got {window.dtype} {window.shape}; "
                    "set bins, size and mode as in the weights"
                )
        try:
            with torch.inference_mode():
                logits_BK = self._model(self._transfer.up(counts).flatten(1, -3))
                (probabilities,) = self._transfer.down(logits_BK.float().softmax(dim=1))
        except Exception as error:  # whatever a device, a driver or a network does, no word may get out
            raise AnonymizerCrashError(
                f"the stand-in failed on {self.device} ({type(error).__name__}) and its batch is discarded; "
                "restart the pipeline, on another device if it happens again"
            ) from error
        if probabilities.shape != (len(counts), self._config.words) or not np.isfinite(probabilities).all():
            raise AnonymizerError(
                f"the stand-in returned no finite scores of {self._config.words} words; use other weights"
            )
        return probabilities
