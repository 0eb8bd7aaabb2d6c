"""The interface between the training loop and a stage, and helpers of stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch.nn import functional

from eventveil.training.data.loader import UNLABELLED, Batch
from eventveil.training.distributed.process_group import ProcessGroup
from eventveil.training.engine.learner import Gradient, Learner
from eventveil.training.objectives.losses import batch_hard_triplet
from eventveil.training.objectives.objectives import HelperOutput
from eventveil.training.settings import TripletSettings


@dataclass(frozen=True, slots=True)
class Step:
    """A step that is computed but not yet taken.

    Attributes:
        values: scalars to log; all must be finite.
        gradients: the gradients to step along.
    """

    values: Mapping[str, torch.Tensor]
    gradients: Sequence[Gradient]


class Stage(Protocol):
    """A stage of training.

    Attributes:
        name: name of the stage, and path of its folder, with slashes.
        epochs: number of epochs.
        learners: networks to train and save, by name.
        score: the value of `validate` whose maximum marks the best epoch; None for the last epoch.
    """

    name: str
    epochs: int
    learners: dict[str, Learner]
    score: str | None

    def begin_epoch(self, epoch: int, step: int) -> None:
        """Set learning rates and other values that depend on the epoch, which starts or resumes at `step`."""
        ...

    def step(self, batch: Batch, number: int) -> Step:
        """Compute step `number` of the epoch, counted from 0; networks are in training mode."""
        ...

    def validate(self, epoch: int) -> dict[str, float]:
        """Return figures on validation people; networks are in evaluation mode."""
        ...


def helper_losses(
    output: tuple[torch.Tensor, torch.Tensor],
    label_B: torch.Tensor,
    triplet: TripletSettings | None,
    group: ProcessGroup,
) -> HelperOutput:
    """Compute the losses of a helper on a batch; `triplet` settings add the triplet loss of identity networks.

    Positives and negatives come from the whole batch, across all processes. Windows without a label have no loss.
    """
    embedding_BE, logits_BK = output
    total = functional.cross_entropy(logits_BK, label_B, ignore_index=UNLABELLED, reduction="sum")
    # The mean over the labelled windows of the whole batch: a process may have few of them, and none counts more.
    labelled = group.total((label_B != UNLABELLED).sum())
    cross_entropy = group.size * total / labelled.clamp(min=1)
    if triplet is None:
        return HelperOutput(embedding_BE, logits_BK, cross_entropy, torch.zeros_like(cross_entropy))
    compared_BE = functional.normalize(embedding_BE.float(), dim=1) if triplet.normalise else embedding_BE
    gathered_BE, gathered_B = group.gather(compared_BE), group.gather(label_B)
    known = gathered_B != UNLABELLED
    loss = batch_hard_triplet(gathered_BE[known], gathered_B[known], triplet.margin, alone=triplet.alone)
    return HelperOutput(embedding_BE, logits_BK, cross_entropy, loss)


def accuracy(logits_BK: torch.Tensor, label_B: torch.Tensor) -> torch.Tensor:
    """Return the share of correct predictions in a batch, among the windows that have a label."""
    correct_B = logits_BK.detach().argmax(1) == label_B
    return correct_B.sum() / (label_B != UNLABELLED).sum().clamp(min=1)
