"""What the loop asks of a stage, and what a step of one gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch.nn import functional

from eventveil.training.data.loader import Batch
from eventveil.training.distributed.process_group import ProcessGroup
from eventveil.training.engine.learner import Gradient, Learner
from eventveil.training.objectives.losses import batch_hard_triplet
from eventveil.training.objectives.objectives import HelperOutput
from eventveil.training.settings import TripletSettings


@dataclass(frozen=True, slots=True)
class Step:
    """A step that was computed and not yet taken.

    Attributes:
        values: scalars to be logged; those that are losses must be finite.
        gradients: to be stepped along.
    """

    values: Mapping[str, torch.Tensor]
    gradients: Sequence[Gradient]


class Stage(Protocol):
    """A stage of training.

    Attributes:
        name: of its folder, with slashes between parts.
        epochs: how many it has.
        learners: what is trained and saved.
        score: the value of `validate` that chooses the best epoch: the highest; None chooses the last.
    """

    name: str
    epochs: int
    learners: dict[str, Learner]
    score: str | None

    def begin_epoch(self, epoch: int, step: int) -> None:
        """Set learning rates and whatever else changes with the epoch, which is gone on with from `step`."""
        ...

    def step(self, batch: Batch, number: int) -> Step:
        """Compute a step, the `number`-th of the epoch; networks are in training mode."""
        ...

    def validate(self, epoch: int) -> dict[str, float]:
        """Return figures on people for validation; networks are in evaluation mode."""
        ...


def helper_losses(
    output: tuple[torch.Tensor, torch.Tensor],
    label_B: torch.Tensor,
    triplet: TripletSettings | None,
    world: ProcessGroup,
) -> HelperOutput:
    """What a helper says of a batch, with its losses; those with `triplet` settings are trained to tell people apart.

    Positives and negatives are looked for in the whole batch, whoever has which part of it.
    """
    embedding_BE, logits_BK = output
    cross_entropy = functional.cross_entropy(logits_BK, label_B)
    if triplet is None:
        return HelperOutput(embedding_BE, logits_BK, cross_entropy, torch.zeros_like(cross_entropy))
    compared_BE = functional.normalize(embedding_BE.float(), dim=1) if triplet.normalise else embedding_BE
    loss = batch_hard_triplet(world.gather(compared_BE), world.gather(label_B), triplet.margin)
    return HelperOutput(embedding_BE, logits_BK, cross_entropy, loss)


def accuracy(logits_BK: torch.Tensor, label_B: torch.Tensor) -> torch.Tensor:
    """Share of a batch that is right."""
    return (logits_BK.detach().argmax(1) == label_B).float().mean()
