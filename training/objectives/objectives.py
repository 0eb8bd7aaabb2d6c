"""What the anonymizer is trained for: one function per objective, chosen by name.

A new one is a function and a line in `OBJECTIVES`. It sees everything that one forward pass gives, and returns a scalar
whose gradient reaches the anonymizer through `anonymized_BCHW` and `kept_loss`, both of which it is made of: the
helpers' weights do not move by it.

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
    """What a helper says of anonymized windows, and its own losses.

    Attributes:
        embedding_BE, logits_BK: of this process's part of the batch.
        cross_entropy: of its prediction.
        triplet: of its embeddings over the whole batch; 0 of a helper that tells no people apart.
    """

    embedding_BE: torch.Tensor
    logits_BK: torch.Tensor
    cross_entropy: torch.Tensor
    triplet: torch.Tensor

    @property
    def loss(self) -> torch.Tensor:
        """What the helper is trained for."""
        return self.cross_entropy + self.triplet


@dataclass(frozen=True, slots=True)
class ForwardPass:
    """What one forward pass gives.

    Attributes:
        raw_BCHW: the windows, augmented.
        anonymized_BCHW: what the anonymizer made of them.
        kept_loss: of the helper of what is to be kept, cut off from that helper: the gradient that arrives here is the
            weight that an objective gives it.
        adversaries: those that tell people apart; none where the secret is the picture.
        picture: makes pictures of windows, where pictures are the secret.
    """

    raw_BCHW: torch.Tensor
    anonymized_BCHW: torch.Tensor
    kept_loss: torch.Tensor
    adversaries: tuple[HelperOutput, ...]
    picture: Callable[[torch.Tensor], torch.Tensor] | None


class Objective(Protocol):
    """What stands in `OBJECTIVES`."""

    def __call__(self, evidence: ForwardPass, settings: ObjectiveSettings, /) -> torch.Tensor:
        """Return a scalar, to be made small."""
        ...


def target_triplet(evidence: ForwardPass, _settings: ObjectiveSettings) -> torch.Tensor:
    """The published objective of AnonyNoise; it has no floor. See `losses.anonymizer_objective`."""
    return anonymizer_objective(evidence.kept_loss, _mean(answer.triplet for answer in evidence.adversaries))


def uniform(evidence: ForwardPass, settings: ObjectiveSettings) -> torch.Tensor:
    """A bounded one: no adversary is to prefer anybody. See `losses.bounded_objective`."""
    answers = evidence.adversaries
    return _mean(bounded_objective(evidence.kept_loss, answer.logits_BK, settings.weight) for answer in answers)


def likeness(evidence: ForwardPass, settings: ObjectiveSettings) -> torch.Tensor:
    """Keep the target, and where something moves; for anonymizers whose rate does the rest. No adversary is asked."""
    return evidence.kept_loss + settings.weight * coarse_difference(evidence.raw_BCHW, evidence.anonymized_BCHW)


def structure_picture(evidence: ForwardPass, settings: ObjectiveSettings) -> torch.Tensor:
    """The objective of the Event-ReId method. See `losses.event_reid_objective`."""
    assert evidence.picture is not None
    with torch.no_grad():
        reference = evidence.picture(evidence.raw_BCHW)
    anonymized = evidence.anonymized_BCHW
    # Both lie within a few units: voxel grids are normalised to standard deviation 1, pictures are from 0 to 1.
    structure_B = ssim(evidence.raw_BCHW, anonymized, data_range=1.0)
    picture_B = ssim(evidence.picture(anonymized), reference, data_range=1.0)
    return event_reid_objective(
        structure_B, picture_B, evidence.kept_loss, alpha=settings.alpha, beta=settings.beta, gamma=settings.gamma
    )


OBJECTIVES: dict[str, Objective] = {
    "target-triplet": target_triplet,
    "uniform": uniform,
    "likeness": likeness,
    "structure-picture": structure_picture,
}
NEEDS_ADVERSARIES = ("target-triplet", "uniform")
NEEDS_PICTURES = ("structure-picture",)


def _mean(values) -> torch.Tensor:  # type: ignore[no-untyped-def]
    return torch.stack(list(values)).mean()
