"""Runs weights on NumPy arrays, with checks of input and output.

An `Anonymizer` fails closed: every error and every suspicious output raises `AnonymizerError` for the whole batch, and
none of its values is returned. Use each object in one thread at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch

from eventveil.errors import AnonymizerCrashError, AnonymizerError, ClassifierCrashError, LineError, WeightsError
from eventveil.models.device import choose_device, place
from eventveil.models.kinds import AnonymizerNetwork
from eventveil.models.noise import LiveNoise, NoiseGenerator
from eventveil.models.precision import MadeUpNoise, Rehearsal, made_up_windows
from eventveil.models.resnet import Classified
from eventveil.models.transfer import Transfer
from eventveil.models.weights import Weights


class Anonymizer:
    """Anonymizes batches of windows.

    Args:
        weights: weights of an anonymizer.
        device: cpu, cuda, cuda:N, or auto.
        precision: fp32, or bf16 for the convolutions where the device computes in it.
        noise: the noise generator; None for live noise. Others are for tests.

    Attributes:
        device: the device that it runs on.

    Raises:
        WeightsError: the weights are not those of an anonymizer.
        ConfigError: there is no such device, or it does not compute in this precision.

    Example:
        >>> from eventveil.models import load_weights
        >>> from eventveil.models.shipped import NOISY_CHANNEL
        >>> anonymize = Anonymizer(load_weights(NOISY_CHANNEL))
        >>> window = np.zeros((10, 2, 32, 32), np.uint16)  # bins, polarities, height, width
        >>> anonymize([window, window]).shape
        (2, 20, 32, 32)
    """

    def __init__(
        self, weights: Weights, *, device: str = "auto", precision: str = "fp32", noise: NoiseGenerator | None = None
    ) -> None:
        if weights.metadata.role != "anonymizer":
            raise WeightsError(f"expected weights of an anonymizer, got {weights.metadata.role}; choose another file")
        if weights.metadata.kind == "stand_in":
            raise WeightsError("expected an anonymizer of windows, got a stand-in, which chooses words of its book")
        self.device = choose_device(device)
        self._model = cast(AnonymizerNetwork, place(weights.model, self.device, precision, weights.metadata.size))
        self._noise = noise or LiveNoise()
        self._transfer = Transfer(self.device)
        self._shape = weights.metadata.window_shape
        self._counts = weights.metadata.representation == "histogram"
        self._dtype = np.dtype(np.uint16 if self._counts else np.float32)

    def warm_up(self, batch: int = 1) -> None:
        """Anonymize `batch` empty windows, so that memory and kernels are ready for the first live window."""
        self([np.zeros(self._shape, self._dtype)] * batch)

    def rehearsal(self, batch: int) -> Rehearsal:
        """Prepare `batch` made-up windows and their noise, for comparisons of precisions.

        Returns:
            A function that runs them and returns their values, the same in each call.
        """
        counts, noise = list(made_up_windows(self._shape, self._dtype, batch)), MadeUpNoise()

        def run() -> npt.NDArray[np.float32]:
            with torch.inference_mode():
                x_BCHW = self._transfer.up(counts).flatten(1, -3)
                (values,) = self._transfer.down(self._model.anonymize(x_BCHW, noise))
            return values

        return run

    def __call__(self, counts: Sequence[npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
        """Anonymize N windows as one batch.

        Args:
            counts: N arrays, uint16 (K, 2, H, W), or float32 (B, H, W) for an anonymizer of voxel grids.

        Returns:
            float32 (N, C, H, W), C = 2K with channel 2k + p, or C = B.

        Raises:
            AnonymizerError: windows of another shape or type, values that are not finite, or a window with events that
                is unchanged. No window of the batch is returned.
            AnonymizerCrashError: the device or the network failed; also an `AnonymizerError`.
        """
        self._check_input(counts)
        try:
            with torch.inference_mode():
                x_BCHW = self._transfer.up(counts).flatten(1, -3)
                anonymized_BCHW = self._model.anonymize(x_BCHW, self._noise)
                flags = self._check_output(x_BCHW, anonymized_BCHW)
                values, unchanged_B, finite_B = self._transfer.down(anonymized_BCHW, *flags)
        except AnonymizerError:
            raise
        except Exception as error:  # whatever a device, a driver or a network does, no window may get out
            raise AnonymizerCrashError(
                f"the anonymizer failed on {self.device} ({type(error).__name__}) and its batch is discarded; "
                "restart the pipeline, on another device if it happens again"
            ) from error
        if not finite_B.all():
            raise AnonymizerError("the anonymizer returned values that are not finite; use other weights")
        if unchanged_B.any():
            raise AnonymizerError(
                "the anonymizer returned a window unchanged, or one that rounding restores; "
                "use trained weights, or untrained ones with more noise"
            )
        return values

    def _check_input(self, counts: Sequence[npt.NDArray[Any]]) -> None:
        if not counts:
            raise AnonymizerError("expected at least one window, got none")
        for window in counts:
            if window.shape != self._shape or window.dtype != self._dtype:
                raise AnonymizerError(
                    f"expected windows of {self._dtype} {self._shape} for these weights, "
                    f"got {window.dtype} {window.shape}; set bins, size and mode as in the weights"
                )

    def _check_output(self, x_BCHW: torch.Tensor, anonymized_BCHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return, for each window, whether it is unchanged and whether it is finite: on the device, without a wait."""
        if anonymized_BCHW.shape != x_BCHW.shape or anonymized_BCHW.dtype != torch.float32:
            raise AnonymizerError(
                f"the anonymizer returned {anonymized_BCHW.dtype} {tuple(anonymized_BCHW.shape)} "
                f"for windows {tuple(x_BCHW.shape)}; use other weights"
            )
        # Counts are whole numbers: rounding removes noise below a half and restores the raw window.
        rounded_BCHW = anonymized_BCHW.round() if self._counts else anonymized_BCHW
        unchanged_B = (rounded_BCHW == x_BCHW).flatten(1).all(1) & x_BCHW.flatten(1).any(1)
        return unchanged_B, torch.isfinite(anonymized_BCHW).flatten(1).all(1)


class Classifier:
    """Classifies batches of anonymized windows.

    Args:
        weights: weights of a classifier.
        device: cpu, cuda, cuda:N, or auto.
        precision: fp32, or bf16 where the device computes in it.

    Attributes:
        device: the device that it runs on.

    Raises:
        WeightsError: the weights are not those of a classifier.
        ConfigError: there is no such device, or it does not compute in this precision.

    Example:
        >>> from eventveil.models import load_weights
        >>> from eventveil.models.shipped import NOISY_CHANNEL_GESTURES
        >>> classify = Classifier(load_weights(NOISY_CHANNEL_GESTURES))
        >>> probabilities = classify(np.zeros((2, 20, 32, 32), np.float32))
        >>> probabilities.shape, probabilities.sum(axis=1).round(3).tolist()
        ((2, 11), [1.0, 1.0])
    """

    def __init__(self, weights: Weights, *, device: str = "auto", precision: str = "fp32") -> None:
        if weights.metadata.kind != "resnet_classifier":
            raise WeightsError(f"expected weights of a classifier, got {weights.metadata.role}; choose another file")
        self.device = choose_device(device)
        self._model = place(weights.model, self.device, precision, weights.metadata.size)
        self._transfer = Transfer(self.device)
        width, height = weights.metadata.size
        self._shape = (weights.metadata.channels, height, width)

    def warm_up(self, batch: int = 1) -> None:
        """Classify `batch` empty windows, so that memory and kernels are ready for the first live window."""
        self(np.zeros((batch, *self._shape), np.float32))

    def rehearsal(self, batch: int) -> Rehearsal:
        """Prepare `batch` made-up windows; return a function that runs them and returns their probabilities."""
        return partial(self, made_up_windows(self._shape, np.float32, batch))

    def __call__(self, windows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Classify N windows as one batch.

        Args:
            windows: float32 (N, C, H, W).

        Returns:
            float32 (N, classes), probabilities in the order of the weights' labels.

        Raises:
            LineError: windows of another shape or type, or values that are not finite.
            ClassifierCrashError: the device or the network failed.
        """
        if windows.shape[1:] != self._shape or len(windows) == 0 or windows.dtype != np.float32:
            raise LineError(
                f"the classifier expected windows of float32 (N, {', '.join(map(str, self._shape))}), "
                f"got {windows.dtype} {windows.shape}; choose weights made for the same windows"
            )
        try:
            with torch.inference_mode():
                classified: Classified = self._model(self._transfer.up(list(windows)))
                (scores,) = self._transfer.down(classified.logits.softmax(dim=1))
        except Exception as error:
            raise ClassifierCrashError(
                f"the classifier failed on {self.device} ({type(error).__name__}); restart the pipeline, on another "
                "device if it happens again"
            ) from error
        if not np.isfinite(scores).all():
            raise LineError("the classifier returned values that are not finite; use other weights")
        return scores
