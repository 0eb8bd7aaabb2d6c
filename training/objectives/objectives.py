"""The objectives of the anonymizer: one function each, chosen by name.

To add an objective, write a function and add it to `OBJECTIVES`. It gets the results of a forward pass and returns a
scalar to minimise, which must depend on both `anonymized_BCHW` and `kept_loss`: through these two its gradient reaches
the anonymizer. It does not train the helpers.

Legend of axes: B windows, C channels, H rows, W columns, E embedding, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch

from eventveil.training.objectives.losses import (
    anonymizer_objective,
    bounded_objective,
    coarse_difference,
    event_reid_objective,
)
from eventveil.training.objectives.ssim import ssim
from eventveil.training.settings import ObjectiveSettings


@dataclass(frozen=True, slots=True)
class HelperOutput:
    """The outputs of a helper on anonymized windows, and its losses.

    Attributes:
        embedding_BE, logits_BK: outputs for this process's part of the batch.
        cross_entropy: cross-entropy of its predictions.
        triplet: triplet loss of its embeddings over the whole batch; 0 for helpers that do not learn identity.
    """

    embedding_BE: torch.Tensor
    logits_BK: torch.Tensor
    cross_entropy: torch.Tensor
    triplet: torch.Tensor

    @property
    def loss(self) -> torch.Tensor:
        """The loss the helper is trained on."""
        return self.cross_entropy + self.triplet


@dataclass(frozen=True, slots=True)
class ForwardPass:
    """The results of one forward pass.

    Attributes:
        raw_BCHW: the augmented windows.
        anonymized_BCHW: the anonymized windows.
        kept_loss: loss of the helper for the kept label, detached from that helper; its gradient is the weight that the
            objective gives it.
        adversaries: outputs of the adversaries; empty if the secret is the picture.
        picture: reconstructs pictures from windows, if pictures are the secret.
        largest: returns the largest of a scalar over all processes.
    """

    raw_BCHW: torch.Tensor
    anonymized_BCHW: torch.Tensor
    kept_loss: torch.Tensor
    adversaries: tuple[HelperOutput, ...]
    picture: Callable[[torch.Tensor], torch.Tensor] | None
    largest: Callable[[torch.Tensor], torch.Tensor] = lambda value: value


class Objective(Protocol):
    """The interface of the functions in `OBJECTIVES`."""

    def __call__(self, forward: ForwardPass, settings: ObjectiveSettings, /) -> torch.Tensor:
        """Return the scalar loss to minimise."""
        ...


def target_triplet(forward: ForwardPass, _settings: ObjectiveSettings) -> torch.Tensor:
    """Return the published objective of AnonyNoise, which is unbounded below. See `losses.anonymizer_objective`."""
    return anonymizer_objective(forward.kept_loss, _mean(output.triplet for output in forward.adversaries))


def uniform(forward: ForwardPass, settings: ObjectiveSettings) -> torch.Tensor:
    """Return a bounded objective: adversaries should predict all people alike. See `losses.bounded_objective`."""
    outputs = forward.adversaries
    return _mean(bounded_objective(forward.kept_loss, output.logits_BK, settings.weight) for output in outputs)


def likeness(forward: ForwardPass, settings: ObjectiveSettings) -> torch.Tensor:
    """Return an objective that keeps the target and where something moves; for rate-limited anonymizers."""
    return forward.kept_loss + settings.weight * coarse_difference(forward.raw_BCHW, forward.anonymized_BCHW)


def structure_picture(forward: ForwardPass, settings: ObjectiveSettings) -> torch.Tensor:
    """Return the objective of the Event-ReId method. See `losses.event_reid_objective`."""
    assert forward.picture is not None
    with torch.no_grad():
        reference = forward.picture(forward.raw_BCHW)
    anonymized, reconstructed = forward.anonymized_BCHW, forward.picture(forward.anonymized_BCHW)
    structure_B = ssim(forward.raw_BCHW, anonymized, _range(forward, forward.raw_BCHW, anonymized))
    picture_B = ssim(reconstructed, reference, _range(forward, reconstructed, reference))
    return event_reid_objective(
        structure_B, picture_B, forward.kept_loss, alpha=settings.alpha, beta=settings.beta, gamma=settings.gamma
    )


OBJECTIVES: dict[str, Objective] = {
    "target-triplet": target_triplet,
    "uniform": uniform,
    "likeness": likeness,
    "structure-picture": structure_picture,
}
NEEDS_ADVERSARIES = ("target-triplet", "uniform")
NEEDS_PICTURES = ("structure-picture",)


def _range(forward: ForwardPass, *maps: torch.Tensor) -> torch.Tensor:
    """Return the range of values in a batch, of the maps whose range is larger: normalised voxel grids span about 9.

    Source: the code of Ahmad et al., ICCV 2023, which leaves the range to torchmetrics.
    """
    highest = [forward.largest(values.detach().amax().float()) for values in maps]
    lowest = [-forward.largest(-values.detach().amin().float()) for values in maps]
    return torch.stack([high - low for high, low in zip(highest, lowest, strict=True)]).amax().clamp(min=1e-6)


def _mean(values) -> torch.Tensor:  # type: ignore[no-untyped-def]
    return torch.stack(list(values)).mean()
