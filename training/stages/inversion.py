"""The inversion attack: a denoiser, trained alone, restores raw windows from anonymized ones.

Source: Ahmad et al., ICCV 2023, who describe the attack, and publish neither its code nor its network; AnonyNoise's
denoiser takes its place.
Legend of axes: B windows of a batch, N windows, C channels, H rows, W columns.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn import functional

from eventveil.models.denoiser import Denoiser
from eventveil.models.kinds import AnonymizerNetwork
from eventveil.models.noise import NoiseGenerator
from eventveil.training.data.loader import Batch
from eventveil.training.engine.stage import Step
from eventveil.training.evaluation.confidence import bootstrap_by_person
from eventveil.training.evaluation.evaluation import EVALUATION_BATCH, EvaluationSet
from eventveil.training.networks.baselines import Unchanged
from eventveil.training.networks.build import autocast
from eventveil.training.stages.single_network import SingleNetwork, StageInputs


class RestoredShare(NamedTuple):
    """The restored share of the differences between windows, with its 95 % interval by person."""

    value: float
    low: float
    high: float


class Invert(SingleNetwork):
    """The stage that trains a denoiser to restore raw windows, by mean squared error.

    Validation people, if any, choose the epoch; otherwise the last one counts.

    Args:
        inputs: what every stage needs.
        denoiser: the network to train.
    """

    def __init__(self, inputs: StageInputs, denoiser: Denoiser) -> None:
        super().__init__(inputs, "denoiser", denoiser)
        self.score: str | None = None if inputs.evaluation_set.empty else "val_restored"
        self._denoiser = denoiser

    def step(self, batch: Batch, number: int) -> Step:  # noqa: ARG002 - all steps are alike
        """Compute a step."""
        with autocast(self.settings.run, self.settings.window.size, self.evaluation_set.group.device):
            loss = functional.mse_loss(self._denoiser(self.anonymize(batch)).float(), batch.x_BCHW)
        return Step({"loss": loss}, [self.learner.gradient(loss)])

    def validate(self, epoch: int) -> dict[str, float]:
        """Return the restored share of windows of validation people, if any, with fresh noise."""
        if self.evaluation_set.empty:
            return {}
        restored = restored_share(self.evaluation_set, self._denoiser, self.anonymizer, self.name, epoch)
        return {"val_restored": restored.value}


def restored_share(
    evaluation_set: EvaluationSet, denoiser: Denoiser, anonymizer: AnonymizerNetwork, *name: Any
) -> RestoredShare:
    """Measure how much of raw windows a denoiser restores: 1 - squared error / squared distance from the mean window.

    0, which is chance, is what the mean window in the place of every window would get. 1 is every window, exactly.
    Below 0 the denoiser does worse than the mean window.
    """
    mean_CHW = _mean_window(evaluation_set)

    def errors(both_BCHW: torch.Tensor) -> torch.Tensor:
        raw_BCHW, anonymized_BCHW = both_BCHW.chunk(2, dim=1)
        restored_BCHW = denoiser(anonymized_BCHW.contiguous(memory_format=torch.channels_last)).float()
        parts = [(guess - raw_BCHW).square().mean((1, 2, 3)) for guess in (restored_BCHW, mean_CHW)]
        return torch.stack(parts, dim=1)

    error_N2 = evaluation_set.compute_outputs(errors, _WithRaw(anonymizer), *name)

    def share(values_N2: Any) -> float:
        error, distance = values_N2.sum(0, dtype=np.float64)
        return float(1 - error / max(distance, 1e-12))

    low, high = bootstrap_by_person(error_N2, evaluation_set.persons, share)
    value = share(error_N2)
    return RestoredShare(value, min(low, value), max(high, value))


class _WithRaw:
    """Returns raw and anonymized windows, concatenated along the channels: (B, 2C, H, W)."""

    def __init__(self, anonymizer: AnonymizerNetwork) -> None:
        self._anonymizer = anonymizer

    def anonymize(self, x_BCHW: torch.Tensor, generator: NoiseGenerator, /) -> torch.Tensor:
        return torch.cat((x_BCHW, self._anonymizer.anonymize(x_BCHW, generator)), dim=1)


def _mean_window(evaluation_set: EvaluationSet) -> torch.Tensor:
    start = evaluation_set.draw.start
    parts = [start[at : at + EVALUATION_BATCH] for at in range(0, len(start), EVALUATION_BATCH)]
    sums = [evaluation_set.anonymize_rows(Unchanged(), ("mean",), part).double().sum(0) for part in parts]
    return (torch.stack(sums).sum(0) / len(start)).float()
